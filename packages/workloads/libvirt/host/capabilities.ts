/** What a host of libvirt can run (libvirt: Driver capabilities, Domain capabilities). */
import {
  attributeOf,
  childrenOf,
  find,
  ownTextOf,
  parseXml,
  rootOf,
  textAt,
  type XmlElement,
} from '../domain/xml.ts';

export interface HostCapabilities {
  /** By name: `x86_64`. */
  readonly architectures: ReadonlyMap<string, Architecture>;
  /** Who QEMU runs as, where libvirt gives it another user than its own. */
  readonly qemuUser: User | undefined;
}

export interface Architecture {
  /** `kvm`, `qemu`. */
  readonly types: ReadonlySet<string>;
  /** Of all types; each may have more. */
  readonly machines: ReadonlySet<string>;
}

export interface User {
  readonly userId: number;
  readonly groupId: number;
}

/** Fails with `libvirt-failed` when the text is not of libvirt. */
export function parseCapabilities(xml: string): HostCapabilities {
  const root = rootOf(parseXml(xml, 'capabilities'));
  const guests = childrenOf(root, 'guest').map((guest) => find(guest, 'arch'));
  const architectures = new Map<string, Architecture>();
  for (const arch of guests) {
    const name = attributeOf(arch, 'name');
    if (arch && name !== undefined) architectures.set(name, architectureOf(arch));
  }
  return { architectures, qemuUser: qemuUserOf(find(root, 'host')) };
}

function architectureOf(arch: XmlElement): Architecture {
  const domains = childrenOf(arch, 'domain');
  const machines = [arch, ...domains].flatMap((each) => childrenOf(each, 'machine'));
  const names = machines.flatMap((machine) => [
    ownTextOf(machine),
    attributeOf(machine, 'canonical') ?? '',
  ]);
  const types = domains.map((domain) => attributeOf(domain, 'type') ?? '');
  return { types: new Set(types), machines: new Set(names) };
}

/** Such as `+64055:+109`. */
function qemuUserOf(host: XmlElement | undefined): User | undefined {
  const models = childrenOf(host, 'secmodel');
  const byUser = models.find((model) => textAt(model, 'model') === 'dac');
  const label = childrenOf(byUser, 'baselabel').find(
    (each) => attributeOf(each, 'type') === 'qemu',
  );
  const [, userId, groupId] = /^\+?(\d+):\+?(\d+)$/.exec(label ? ownTextOf(label) : '') ?? [];
  return userId === undefined ? undefined : { userId: Number(userId), groupId: Number(groupId) };
}

export interface CpuCapabilities {
  /** Modes that can be used: `host-passthrough`, `custom`, ... */
  readonly modes: ReadonlySet<string>;
  /** Models that can be used in mode `custom`. */
  readonly models: ReadonlySet<string>;
}

/** Fails with `libvirt-failed` when the text is not of libvirt. */
export function parseCpuCapabilities(xml: string): CpuCapabilities {
  const root = rootOf(parseXml(xml, 'domainCapabilities'));
  const supported = childrenOf(find(root, 'cpu'), 'mode').filter(
    (mode) => attributeOf(mode, 'supported') === 'yes',
  );
  const nameOf = (mode: XmlElement): string => attributeOf(mode, 'name') ?? '';
  const custom = supported.find((mode) => nameOf(mode) === 'custom');
  const usable = childrenOf(custom, 'model').filter(
    (model) => attributeOf(model, 'usable') !== 'no',
  );
  return { modes: new Set(supported.map(nameOf)), models: new Set(usable.map(ownTextOf)) };
}
