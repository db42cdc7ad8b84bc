/** `coffer vms`. */
import type { DiscoveredAgent, DiscoveredDisk, DiscoveredVm } from '../libvirt/compose.ts';
import { listMachines } from '../libvirt/compose.ts';
import { formatBytes, printJson, printLine } from '../output.ts';
import { printable } from '../printable.ts';
import type { GlobalOptions } from '../settings.ts';

export interface VmsCommandOptions extends GlobalOptions {
  readonly connect: string;
}

export async function runVms(options: VmsCommandOptions): Promise<void> {
  const vms = await listMachines(options.connect);
  if (options.json) printJson(vms);
  else vms.forEach(printVm);
}

function printVm(vm: DiscoveredVm): void {
  const { name, state, consistency, reason, remedy, agent, disks } = vm;
  const why = reason === undefined ? '' : ` (${reason}; ${remedy})`;
  const level = consistency === 'off' ? 'as it is' : `${consistency}-consistent${why}`;
  const would =
    consistency === undefined ? `cannot be captured${why}` : `would be captured ${level}`;
  printLine(`${printable(name)}: ${state}, ${would}`);
  if (agent) printAgent(agent);
  for (const disk of disks) printDisk(disk);
}

function printAgent({ version, scripts = [], fileSystems }: DiscoveredAgent): void {
  const mounted = fileSystems.map(({ mountpoint, type }) => `${mountpoint} ${type}`).join(', ');
  const hooks = scripts.length === 0 ? '' : `; scripts ${scripts.join(' ')}`;
  printLine(printable(`  guest agent ${version}; ${mounted}${hooks}`));
}

function printDisk(disk: DiscoveredDisk): void {
  const { sizeBytes, allocatedBytes = 0 } = disk;
  const size =
    sizeBytes === undefined
      ? ''
      : ` ${formatBytes(sizeBytes)}, ${formatBytes(allocatedBytes)} allocated`;
  const note = disk.reason === undefined ? '' : `: ${disk.reason}`;
  const help = disk.remedy === undefined ? '' : ` (${disk.remedy})`;
  printLine(`  ${disk.name} ${disk.format}${size} ${disk.protection}${note}${help}`);
}
