/** What a request for a backup of machines means for those that are captured together. Pure. */
import type { BackupRequestOf } from '../request.ts';

type MachinesRequest = BackupRequestOf<'machines'>;

/** As captures take them. */
export function captureChoicesOf(request: MachinesRequest) {
  const { names, consistency, pauses, memory } = request;
  const { excludedDisks, scratchFolder, scratchBytesMax, waitMs } = request;
  return {
    exclude: excludedDisks,
    demanded: consistency,
    // Of guests that run on while others are held, the disks would be of another moment.
    pauses: pauses || names.length > 1,
    memory,
    scratchFolder,
    scratchBytesMax,
    waitMs,
  };
}

/** Those that become points of one moment. */
export function groupsOf(request: MachinesRequest): readonly MachinesRequest[] {
  if (request.together) return [request];
  return request.names.map((name) => ({ ...request, names: [name] }));
}

/** Memory without what was swapped out of it would be none. */
export function readsSwapFor({ readsSwap, memory }: MachinesRequest): boolean {
  return readsSwap || memory;
}
