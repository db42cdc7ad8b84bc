/** The machines of a host, and how each can be protected. */
import { type Clock, isCofferError } from '@coffer/base';
import { GuestAgent } from './agent/guest-agent.ts';
import { findScripts, SCRIPTS_FOLDER } from './capture/guest-scripts.ts';
import type { Consistency } from '../vm-capture.ts';
import type { Domain, GuestFileSystem, LibvirtConnection } from './connection.ts';
import { type DiskJudgement, imagePathOf } from './domain/protectable.ts';
import { judgedMachine } from './host/judged-machine.ts';

export interface DiscoveredVm {
  readonly name: string;
  readonly uuid: string;
  readonly state: string;
  /** What a backup would get now; undefined when there can be none. */
  readonly consistency: Consistency | undefined;
  /** Why it is not better, and what would help. */
  readonly reason: string | undefined;
  readonly remedy: string | undefined;
  /** Undefined when none answers. */
  readonly agent: DiscoveredAgent | undefined;
  readonly disks: readonly DiscoveredDisk[];
}

export interface DiscoveredAgent {
  readonly version: string;
  readonly canFreeze: boolean;
  /** Windows brings its applications to rest by itself when it is frozen (VSS). */
  readonly isWindows: boolean;
  /** Scripts of the guest that bring its applications to rest; undefined when it runs none. */
  readonly scripts: readonly string[] | undefined;
  readonly fileSystems: readonly GuestFileSystem[];
}

export interface DiscoveredDisk {
  readonly name: string;
  readonly path: string | undefined;
  readonly format: string;
  readonly sizeBytes: number | undefined;
  /** What its image takes on the host. */
  readonly allocatedBytes: number | undefined;
  readonly protection: DiskJudgement['protection'];
  readonly reason: string | undefined;
  readonly remedy: string | undefined;
}

/** By name. */
export async function discoverVms(
  connection: LibvirtConnection,
  clock: Clock,
): Promise<DiscoveredVm[]> {
  const domains = await connection.domains();
  domains.sort((a, b) => a.name.localeCompare(b.name));
  const vms: DiscoveredVm[] = [];
  for (const domain of domains) vms.push(await describe(connection, domain, clock));
  return vms;
}

async function describe(
  connection: LibvirtConnection,
  domain: Domain,
  clock: Clock,
): Promise<DiscoveredVm> {
  const { state } = await connection.state(domain);
  const { definition, judgements } = await judgedMachine(connection, domain, { exclude: [] });
  const disks: DiscoveredDisk[] = [];
  for (const judgement of judgements) {
    disks.push(await describeDisk(connection, domain, judgement));
  }
  const hasChannel = definition.guestAgent !== undefined;
  const agent =
    state === 'running' && hasChannel ? await describeAgent(connection, domain, clock) : undefined;
  const isSaved = state === 'shutoff' && (await connection.hasManagedSave(domain));
  const reached = expect({ name: domain.name, state, isSaved, hasChannel, agent });
  return { name: domain.name, uuid: domain.uuid, state, ...reached, agent, disks };
}

/** Undefined when it does not answer. */
async function describeAgent(
  connection: LibvirtConnection,
  domain: Domain,
  clock: Clock,
): Promise<DiscoveredAgent | undefined> {
  const agent = new GuestAgent(connection, domain, clock);
  try {
    const { version, commands, isWindows } = await agent.info();
    const runsScripts = commands.has('guest-exec') && !isWindows;
    return {
      version,
      canFreeze: commands.has('guest-fsfreeze-freeze'),
      isWindows,
      scripts: runsScripts ? await findScripts(agent) : undefined,
      fileSystems: await connection.fsInfo(domain),
    };
  } catch (error) {
    if (isCofferError(error)) return undefined;
    throw error;
  }
}

async function describeDisk(
  connection: LibvirtConnection,
  domain: Domain,
  judgement: DiskJudgement,
): Promise<DiscoveredDisk> {
  const { disk, protection } = judgement;
  const { target, format } = disk;
  return {
    name: target,
    path: imagePathOf(disk),
    format,
    ...(await sizesOf(connection, domain, target)),
    protection,
    reason: protection === 'incremental' ? undefined : judgement.text,
    remedy: protection === 'incremental' ? undefined : judgement.remedy,
  };
}

async function sizesOf(
  connection: LibvirtConnection,
  domain: Domain,
  target: string,
): Promise<Pick<DiscoveredDisk, 'sizeBytes' | 'allocatedBytes'>> {
  try {
    const { capacityBytes, physicalBytes } = await connection.blockInfo(domain, target);
    return { sizeBytes: capacityBytes, allocatedBytes: physicalBytes };
  } catch (error) {
    // An empty drive, or an image that is not there.
    if (!isCofferError(error, 'libvirt-failed')) throw error;
    return { sizeBytes: undefined, allocatedBytes: undefined };
  }
}

interface Seen {
  readonly name: string;
  readonly state: string;
  readonly isSaved: boolean;
  readonly hasChannel: boolean;
  readonly agent: DiscoveredAgent | undefined;
}

/** What a backup would get now. Pure. */
function expect({
  name,
  state,
  isSaved,
  hasChannel,
  agent,
}: Seen): Pick<DiscoveredVm, 'consistency' | 'reason' | 'remedy'> {
  if (isSaved) {
    const remedy = `start it, or drop what is saved with virsh managedsave-remove ${name}`;
    return { consistency: undefined, reason: 'it is saved with its memory', remedy };
  }
  if (state === 'shutoff') return { consistency: 'off', reason: undefined, remedy: undefined };
  if (!hasChannel) {
    const remedy =
      "add <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>" +
      ` by virsh edit ${name}, and install qemu-guest-agent in the guest`;
    return { consistency: 'crash', reason: 'it has no channel of the guest agent', remedy };
  }
  if (!agent) {
    const remedy = 'install and start qemu-guest-agent in the guest';
    return { consistency: 'crash', reason: 'its guest agent does not answer', remedy };
  }
  if (!agent.canFreeze) {
    const remedy = 'allow guest-fsfreeze-freeze in the configuration of the agent';
    return { consistency: 'crash', reason: 'its guest agent may not freeze', remedy };
  }
  if (agent.isWindows) {
    return { consistency: 'application', reason: undefined, remedy: undefined };
  }
  if (!agent.scripts) {
    const remedy = 'allow guest-exec in the configuration of the agent';
    return { consistency: 'file-system', reason: 'its guest agent runs no scripts', remedy };
  }
  if (agent.scripts.length > 0) {
    return { consistency: 'application', reason: undefined, remedy: undefined };
  }
  const remedy = `put scripts that bring its applications to rest into ${SCRIPTS_FOLDER}`;
  return { consistency: 'file-system', reason: 'the guest has no scripts', remedy };
}
