/** The machines that commands work with are those of libvirt. */
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import { openLibvirtHost } from '@coffer/workloads/libvirt/open.ts';
import { commandRun } from '../compose.ts';

export { findMachines, listMachines, uuidOfMachine } from '@coffer/workloads/libvirt/open.ts';
export type {
  DiscoveredAgent,
  DiscoveredDisk,
  DiscoveredVm,
} from '@coffer/workloads/libvirt/discover.ts';

/** Whoever opened it closes it. Fails with the codes of libvirt. */
export async function openVmHost(
  uri: string,
  networks: Readonly<Record<string, string>> = {},
): Promise<VmHost & AsyncDisposable> {
  return await openLibvirtHost(commandRun, uri, networks);
}
