/** `coffer vms`: the machines of a host, and how each can be protected. */
import { isCofferError } from '@coffer/base';
import {
  type Domain,
  type LibvirtConnection,
  openLibvirt,
} from '@coffer/workloads/libvirt/connection.ts';
import { type Domain as Definition, parseDomain } from '@coffer/workloads/libvirt/domain/domain.ts';
import { type DiskJudgement, judgeDisks } from '@coffer/workloads/libvirt/domain/protectable.ts';
import { formatBytes, printJson, printLine } from '../output.ts';
import { printable } from '../printable.ts';
import type { GlobalOptions } from '../settings.ts';

export interface VmsCommandOptions extends GlobalOptions {
  readonly connect: string;
}

interface VmDocument {
  readonly name: string;
  readonly uuid: string;
  readonly state: string;
  /** What a backup would get now. */
  readonly consistency: 'file-system' | 'crash' | 'off';
  /** Why it is not better, and what would help. */
  readonly reason: string | undefined;
  readonly remedy: string | undefined;
  readonly disks: readonly DiskDocument[];
}

interface DiskDocument {
  readonly name: string;
  readonly path: string | undefined;
  readonly format: string;
  readonly sizeBytes: number | undefined;
  readonly protection: DiskJudgement['protection'];
  readonly reason: string | undefined;
  readonly remedy: string | undefined;
}

const AGENT_TIMEOUT_SECONDS = 3;

export async function runVms(options: VmsCommandOptions): Promise<void> {
  const connection = await openLibvirt(options.connect);
  try {
    const domains = await connection.domains();
    domains.sort((a, b) => a.name.localeCompare(b.name));
    const vms: VmDocument[] = [];
    for (const domain of domains) vms.push(await describe(connection, domain));
    if (options.json) printJson(vms);
    else vms.forEach(printVm);
  } finally {
    await connection.close();
  }
}

async function describe(connection: LibvirtConnection, domain: Domain): Promise<VmDocument> {
  const { state } = await connection.state(domain);
  const definition = parseDomain(await connection.xml(domain));
  const disks: DiskDocument[] = [];
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
): Promise<DiskDocument> {
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
): Promise<Pick<VmDocument, 'consistency' | 'reason' | 'remedy'>> {
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

function printVm({ name, state, consistency, reason, remedy, disks }: VmDocument): void {
  const why = reason === undefined ? '' : ` (${reason}; ${remedy})`;
  printLine(`${printable(name)}: ${state}, would be ${consistency}-consistent${why}`);
  for (const disk of disks) {
    const size = disk.sizeBytes === undefined ? '' : ` ${formatBytes(disk.sizeBytes)}`;
    const note = disk.reason === undefined ? '' : `: ${disk.reason}`;
    const help = disk.remedy === undefined ? '' : ` (${disk.remedy})`;
    printLine(`  ${disk.name} ${disk.format}${size} ${disk.protection}${note}${help}`);
  }
}
