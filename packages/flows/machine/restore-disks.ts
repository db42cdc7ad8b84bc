/** Restore of the disks of a virtual machine as images in a folder, without the machine. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CofferError, mapBoundedOrNone, type RunContext, tellPhase, tellTotal } from '@coffer/base';
import type { ImageFormat } from '@coffer/disk/image-format.ts';
import type { RestoreResult } from '../restore/restore.ts';
import { type FileRestore, restoreRoot } from './machine-files.ts';
import { vmOf } from './machine-point.ts';

/** While one is synced, the next one is written. */
const IMAGES_AT_ONCE = 2;

export interface VmDisksOptions extends FileRestore {
  /** By name; with none, all. */
  readonly disks: readonly string[];
  /** Absolute path; it is made when it is not there. */
  readonly folder: string;
  readonly format: ImageFormat;
}

/** Fails with `disk-not-found`, `target-not-empty` and the codes of targets. */
export async function restoreVmDisks(
  run: RunContext,
  options: VmDisksOptions,
): Promise<RestoreResult[]> {
  const { folder, format } = options;
  const images = namesOf(options).map((root) => {
    return { root, path: join(folder, `${root}.${format}`), format };
  });
  const taken = images.find(({ path }) => existsSync(path));
  if (taken) throw new CofferError('target-not-empty', { target: taken.path });
  tellPhase(run, 'restore-disks');
  const names = new Set(images.map(({ root }) => root));
  const roots = options.point.roots.filter(({ name }) => names.has(name));
  tellTotal(run, { bytes: roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) });
  return await mapBoundedOrNone(images, IMAGES_AT_ONCE, run.signal, (image, signal) =>
    restoreRoot({ ...run, signal }, options, image),
  );
}

function namesOf({ repository, point, disks }: VmDisksOptions): string[] {
  const known = vmOf(repository, point).disks.map(({ name }) => name);
  const unknown = disks.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    const details = { point: point.id, disk: unknown, disks: known.join(', ') };
    throw new CofferError('disk-not-found', details);
  }
  return disks.length === 0 ? known : [...disks];
}
