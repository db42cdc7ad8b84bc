/** Where the files of a restored machine go: a folder, or that of a storage pool. */
import type { VmHost } from '@coffer/workloads/vm-host.ts';

export type MachinePlace = { readonly folder: string } | { readonly pool: string };

/** Fails with `target-unfit` for a pool without a folder. */
export async function folderOf(host: VmHost, place: MachinePlace): Promise<string> {
  return 'folder' in place ? place.folder : await host.poolFolder(place.pool);
}

/** Tells a pool that it has new volumes. */
export async function refreshPlace(host: VmHost, place: MachinePlace): Promise<void> {
  if ('pool' in place) await host.refreshPool(place.pool);
}
