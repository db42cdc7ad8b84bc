/** A restored machine goes on with the memory that was captured with its disks, instead of booting. */
import { join } from 'node:path';
import { CofferError, type RunContext, tellPhase, tellTotal } from '@coffer/base';
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import { type FileRestore, removeFiles, restoreRoot } from './machine-files.ts';
import { vmOf } from './machine-point.ts';

/** The name of the root. Fails with `memory-missing` when the point has none. */
export function memoryOf({ repository, point }: Pick<FileRestore, 'repository' | 'point'>): string {
  const { name, files } = vmOf(repository, point);
  const memory = files.find(({ role }) => role === 'memory');
  if (memory) return memory.name;
  throw new CofferError('memory-missing', { vm: name, point: point.id });
}

export interface GoOnOptions extends FileRestore {
  readonly host: VmHost;
  /** Of the machine, whose disks are as they were when the point was made. */
  readonly uuid: string;
  /** Holds the memory until the machine has read it. */
  readonly folder: string;
}

export async function goOnWithMemory(run: RunContext, options: GoOnOptions): Promise<void> {
  const { host, uuid, folder } = options;
  const path = join(folder, `${uuid}.memory`);
  // Of a run that was killed.
  removeFiles([{ path }]);
  const root = memoryOf(options);
  tellPhase(run, 'restore-memory');
  tellTotal(run, { bytes: options.point.roots.find(({ name }) => name === root)?.sizeBytes ?? 0 });
  try {
    await restoreRoot(run, options, { root, path, format: 'raw' });
    await host.goOn(uuid, path);
  } finally {
    removeFiles([{ path }]);
  }
}
