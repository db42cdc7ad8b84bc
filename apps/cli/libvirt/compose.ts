/** The machines that commands work with are those of libvirt, as this process reaches it. */
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import {
  type CaptureChoices,
  findMachines as findMachinesAt,
  type FoundMachines,
  type LibvirtPlace,
  listMachines as listMachinesAt,
  openLibvirtHost,
  uuidOfMachine as uuidOfMachineAt,
} from '@coffer/workloads/libvirt/open.ts';
import type { DiscoveredVm } from '@coffer/workloads/libvirt/discover.ts';
import { commandRun } from '../compose.ts';

export type {
  DiscoveredAgent,
  DiscoveredDisk,
  DiscoveredVm,
} from '@coffer/workloads/libvirt/discover.ts';

function placeOf(uri: string): LibvirtPlace {
  return { uri, environment: process.env };
}

/** Whoever opened it closes it. Fails with the codes of libvirt. */
export async function openVmHost(
  uri: string,
  networks: Readonly<Record<string, string>> = {},
): Promise<VmHost & AsyncDisposable> {
  return await openLibvirtHost(commandRun, placeOf(uri), networks);
}

export async function findMachines(
  uri: string,
  names: readonly string[],
  choices: CaptureChoices,
): Promise<FoundMachines> {
  return await findMachinesAt(placeOf(uri), names, choices);
}

export async function listMachines(uri: string): Promise<DiscoveredVm[]> {
  return await listMachinesAt(commandRun, placeOf(uri));
}

export async function uuidOfMachine(uri: string, name: string): Promise<string | undefined> {
  return await uuidOfMachineAt(placeOf(uri), name);
}
