/** The machines of a host, and how each can be protected. */
import { isCofferError } from '@coffer/base';
import type { Domain, LibvirtConnection } from './connection.ts';
import { type Domain as Definition, parseDomain } from './domain/domain.ts';
import { type DiskJudgement, judgeDisks } from './domain/protectable.ts';

export interface DiscoveredVm {
  readonly name: string;
  readonly uuid: string;
  readonly state: string;
  /** What a backup would get now. */
  readonly consistency: 'file-system' | 'crash' | 'off';
  /** Why it is not better, and what would help. */
  readonly reason: string | undefined;
  readonly remedy: string | undefined;
  readonly disks: readonly DiscoveredDisk[];
}

export interface DiscoveredDisk {
  readonly name: string;
  readonly path: string | undefined;
  readonly format: string;
  readonly sizeBytes: number | undefined;
  readonly protection: DiskJudgement['protection'];
  readonly reason: string | undefined;
  readonly remedy: string | undefined;
}

const AGENT_TIMEOUT_SECONDS = 3;

/** By name. */
export async function discoverVms(connection: LibvirtConnection): Promise<DiscoveredVm[]> {
  const domains = await connection.domains();
  domains.sort((a, b) => a.name.localeCompare(b.name));
  const vms: DiscoveredVm[] = [];
  for (const domain of domains) vms.push(await describe(connection, domain));
  return vms;
}

async function describe(connection: LibvirtConnection, domain: Domain): Promise<DiscoveredVm> {
  const { state } = await connection.state(domain);
  const definition = parseDomain(await connection.xml(domain));
  const disks: DiscoveredDisk[] = [];
  for (const judgement of judgeDisks(definition, { exclude: [] })) {
    disks.push(await describeDisk(connection, domain, judgement));
  }
  const consistency = await consistencyOf(connection, domain, state, definition);
  return { name: domain.name, uuid: domain.uuid, state, ...consistency, disks };
}

async function describeDisk(
  connection: LibvirtConnection,
  domain: Domain,
  judgement: DiskJudgement,
): Promise<DiscoveredDisk> {
  const { disk, protection } = judgement;
  const { source, target, format } = disk;
  return {
    name: target,
    path: source.kind === 'file' || source.kind === 'block' ? source.path : undefined,
    format,
    sizeBytes: await sizeOf(connection, domain, target),
    protection,
    reason: protection === 'incremental' ? undefined : judgement.text,
    remedy: protection === 'incremental' ? undefined : judgement.remedy,
  };
}

async function sizeOf(
  connection: LibvirtConnection,
  domain: Domain,
  target: string,
): Promise<number | undefined> {
  try {
    return (await connection.blockInfo(domain, target)).capacityBytes;
  } catch (error) {
    // An empty drive, or an image that is not there.
    if (isCofferError(error, 'libvirt-failed')) return undefined;
    throw error;
  }
}

async function consistencyOf(
  connection: LibvirtConnection,
  domain: Domain,
  state: string,
  { guestAgent }: Definition,
): Promise<Pick<DiscoveredVm, 'consistency' | 'reason' | 'remedy'>> {
  if (state === 'shutoff') return { consistency: 'off', reason: undefined, remedy: undefined };
  if (!guestAgent) {
    const remedy =
      "add <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>" +
      ` by virsh edit ${domain.name}, and install qemu-guest-agent in the guest`;
    return { consistency: 'crash', reason: 'it has no channel of the guest agent', remedy };
  }
  try {
    await connection.agentCommand(domain, '{"execute":"guest-ping"}', AGENT_TIMEOUT_SECONDS);
    return { consistency: 'file-system', reason: undefined, remedy: undefined };
  } catch (error) {
    if (!isCofferError(error)) throw error;
    const remedy = 'install and start qemu-guest-agent in the guest';
    return { consistency: 'crash', reason: 'its guest agent does not answer', remedy };
  }
}
