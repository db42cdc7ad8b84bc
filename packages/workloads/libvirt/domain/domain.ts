/**
 * A virtual machine as its definition in libvirt says (libvirt: Domain XML format). Only what Coffer
 * decides by is read; the definition itself is kept as it is and changed by `rewrite.ts`.
 */
import { type DomainDisk, parseDisk } from './disk.ts';
import { parseDomainXml } from './domain-xml.ts';
import { type DomainMemory, parseMemory } from './memory.ts';
import {
  attributeOf,
  childrenOf,
  find,
  malformed,
  serializeXml,
  textAt,
  type XmlElement,
} from './xml.ts';

export interface Domain {
  /** How it is run: `kvm`, `qemu`, ... */
  readonly type: string;
  readonly name: string;
  /** In lower case. */
  readonly uuid: string;
  readonly title: string | undefined;
  readonly memory: DomainMemory;
  readonly arch: string;
  /** `pc-q35-7.2`; what the guest sees, so a restore keeps it. */
  readonly machine: string | undefined;
  /** `host-passthrough`, `host-model`, `custom`, `maximum`. */
  readonly cpuMode: string | undefined;
  /** In mode `custom`. */
  readonly cpuModel: string | undefined;
  /** The `<cpu>` as XML, where libvirt starts no machine whose host has not all of it. */
  readonly demandedCpu: string | undefined;
  readonly boot: DomainBoot;
  readonly tpm: DomainTpm | undefined;
  readonly disks: readonly DomainDisk[];
  readonly interfaces: readonly DomainInterface[];
  readonly hostDevices: readonly HostDevice[];
  readonly channels: readonly DomainChannel[];
  /** The channel of the guest agent, where there is one. */
  readonly guestAgent: DomainChannel | undefined;
  /** The `<metadata>` of other programs as XML. */
  readonly metadata: string | undefined;
}

/** Firmware, and the files of the host that a machine is booted from without a disk. */
export interface DomainBoot {
  /** `efi` or `bios` where libvirt chooses the firmware. */
  readonly firmware: string | undefined;
  /** Of the host. */
  readonly loader: string | undefined;
  /** The UEFI variables of this machine. */
  readonly nvram: string | undefined;
  /** What new UEFI variables are made from; of the host. */
  readonly nvramTemplate: string | undefined;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly cmdline: string | undefined;
  readonly dtb: string | undefined;
}

/** An `emulator` keeps its state below the UUID of the machine. */
export interface DomainTpm {
  readonly model: string | undefined;
  readonly backend: string;
  readonly version: string | undefined;
  /** UUID of the secret of libvirt that the state is encrypted with. */
  readonly secret: string | undefined;
}

export interface DomainInterface {
  /** `network`, `bridge`, `direct`, ... */
  readonly type: string;
  readonly mac: string | undefined;
  /** Name of the network, bridge or device of the host. */
  readonly source: string | undefined;
  readonly model: string | undefined;
}

export interface HostDevice {
  /** `pci`, `usb`, `mdev`, `scsi`, ... */
  readonly type: string;
  /** Its address in the host, as libvirt writes it. */
  readonly address: string;
}

export interface DomainChannel {
  readonly name: string;
  /** Whether the guest has opened its side. Undefined where the machine is off. */
  readonly state: 'connected' | 'disconnected' | undefined;
}

const GUEST_AGENT = 'org.qemu.guest_agent.0';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Fails with `libvirt-failed` when the text is not the definition of a machine. */
export function parseDomain(xml: string): Domain {
  const { root } = parseDomainXml(xml);
  const devices = find(root, 'devices');
  const channels = childrenOf(devices, 'channel').flatMap(parseChannel);
  const metadata = find(root, 'metadata');
  return {
    type: attributeOf(root, 'type') ?? 'qemu',
    name: parseName(root),
    uuid: parseUuid(root),
    title: textAt(root, 'title'),
    memory: parseMemory(root),
    arch: parseArch(root),
    machine: attributeOf(find(root, 'os', 'type'), 'machine'),
    cpuMode: attributeOf(find(root, 'cpu'), 'mode'),
    cpuModel: textAt(root, 'cpu', 'model'),
    demandedCpu: parseDemandedCpu(find(root, 'cpu')),
    boot: parseBoot(find(root, 'os')),
    tpm: parseTpm(find(devices, 'tpm')),
    disks: parseDisks(devices),
    interfaces: childrenOf(devices, 'interface').map(parseInterface),
    hostDevices: childrenOf(devices, 'hostdev').map(parseHostDevice),
    channels,
    guestAgent: channels.find(({ name }) => name === GUEST_AGENT),
    metadata: metadata && serializeXml(metadata),
  };
}

function parseName(root: XmlElement): string {
  const name = textAt(root, 'name');
  if (name === undefined) throw malformed('name');
  return name;
}

function parseUuid(root: XmlElement): string {
  const uuid = textAt(root, 'uuid') ?? '';
  if (!UUID.test(uuid)) throw malformed('UUID', uuid);
  return uuid.toLowerCase();
}

function parseArch(root: XmlElement): string {
  const arch = attributeOf(find(root, 'os', 'type'), 'arch');
  if (!arch) throw malformed('architecture');
  return arch;
}

/** Without a check, QEMU leaves out what the host has not. */
function parseDemandedCpu(cpu: XmlElement | undefined): string | undefined {
  const check = attributeOf(cpu, 'check') ?? 'none';
  const isDemanded = attributeOf(cpu, 'mode') === 'custom' && check !== 'none';
  return cpu && isDemanded ? serializeXml(cpu) : undefined;
}

function parseBoot(os: XmlElement | undefined): DomainBoot {
  const nvram = find(os, 'nvram');
  return {
    firmware: attributeOf(os, 'firmware'),
    loader: textAt(os, 'loader'),
    nvram: nvramPathOf(nvram),
    nvramTemplate: attributeOf(nvram, 'template'),
    kernel: textAt(os, 'kernel'),
    initrd: textAt(os, 'initrd'),
    cmdline: textAt(os, 'cmdline'),
    dtb: textAt(os, 'dtb'),
  };
}

/** A text, or, where it has a type, a source like that of a disk. */
function nvramPathOf(nvram: XmlElement | undefined): string | undefined {
  const source = find(nvram, 'source');
  if (source === undefined) return textAt(nvram);
  return attributeOf(source, 'file') ?? attributeOf(source, 'dev');
}

function parseTpm(tpm: XmlElement | undefined): DomainTpm | undefined {
  const backend = find(tpm, 'backend');
  if (tpm === undefined || backend === undefined) return undefined;
  return {
    model: attributeOf(tpm, 'model'),
    backend: attributeOf(backend, 'type') ?? 'passthrough',
    version: attributeOf(backend, 'version'),
    secret: attributeOf(find(backend, 'encryption'), 'secret'),
  };
}

function parseDisks(devices: XmlElement | undefined): DomainDisk[] {
  const disks = childrenOf(devices, 'disk').map(parseDisk);
  const targets = new Set<string>();
  for (const { target } of disks) {
    if (targets.has(target)) throw malformed('disk, which is there twice', target);
    targets.add(target);
  }
  return disks;
}

function parseInterface(device: XmlElement): DomainInterface {
  const source = find(device, 'source');
  return {
    type: attributeOf(device, 'type') ?? 'network',
    mac: attributeOf(find(device, 'mac'), 'address'),
    source: interfaceSourceOf(source),
    model: attributeOf(find(device, 'model'), 'type'),
  };
}

/** A running machine on a network names the network's bridge, too: the network is what counts. */
export function interfaceSourceOf(source: XmlElement | undefined): string | undefined {
  const [network, bridge, device] = ['network', 'bridge', 'dev'].map((name) =>
    attributeOf(source, name),
  );
  return network ?? bridge ?? device;
}

export function parseHostDevice(device: XmlElement): HostDevice {
  const type = attributeOf(device, 'type') ?? 'unknown';
  const source = find(device, 'source');
  const address = childrenOf(source).map((child) => serializeXml(child));
  return { type, address: (address.join('') || serializeXml(source ?? device)).slice(0, 500) };
}

function parseChannel(channel: XmlElement): DomainChannel[] {
  const target = find(channel, 'target');
  const name = attributeOf(target, 'name');
  if (name === undefined) return [];
  const said = attributeOf(target, 'state');
  const state = said === 'connected' || said === 'disconnected' ? said : undefined;
  return [{ name, state }];
}
