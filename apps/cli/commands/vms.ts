/** `coffer vms`. */
import { type DiscoveredVm, findVms } from '../libvirt/compose.ts';
import { formatBytes, printJson, printLine } from '../output.ts';
import { printable } from '../printable.ts';
import type { GlobalOptions } from '../settings.ts';

export interface VmsCommandOptions extends GlobalOptions {
  readonly connect: string;
}

export async function runVms(options: VmsCommandOptions): Promise<void> {
  const vms = await findVms(options.connect);
  if (options.json) printJson(vms);
  else vms.forEach(printVm);
}

function printVm({ name, state, consistency, reason, remedy, disks }: DiscoveredVm): void {
  const why = reason === undefined ? '' : ` (${reason}; ${remedy})`;
  printLine(`${printable(name)}: ${state}, would be ${consistency}-consistent${why}`);
  for (const disk of disks) {
    const size = disk.sizeBytes === undefined ? '' : ` ${formatBytes(disk.sizeBytes)}`;
    const note = disk.reason === undefined ? '' : `: ${disk.reason}`;
    const help = disk.remedy === undefined ? '' : ` (${disk.remedy})`;
    printLine(`  ${disk.name} ${disk.format}${size} ${disk.protection}${note}${help}`);
  }
}
