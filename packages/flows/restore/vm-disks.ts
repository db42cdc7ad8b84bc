/** Restore of the disks of a virtual machine as images in a folder, without the machine. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CofferError } from '@coffer/base';
import type { ImageFormat } from '@coffer/disk/image-format.ts';
import type { RecoveryPoint, Repository } from '@coffer/repository';
import { newProgress, type Progress } from '../progress.ts';
import { restore, type RestoreResult } from './restore.ts';
import { vmOf } from './vm-point.ts';

export interface VmDisksOptions {
  readonly repository: Repository;
  readonly point: RecoveryPoint;
  /** By name; with none, all. */
  readonly disks: readonly string[];
  /** Absolute path; it is made when it is not there. */
  readonly folder: string;
  readonly format: ImageFormat;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** Fails with `disk-not-found`, `target-not-empty` and the codes of targets. */
export async function restoreVmDisks(options: VmDisksOptions): Promise<RestoreResult[]> {
  const { repository, point, folder, format, progress, signal } = options;
  const targets = namesOf(options).map((name) => ({
    name,
    path: join(folder, `${name}.${format}`),
  }));
  const taken = targets.find(({ path }) => existsSync(path));
  if (taken) throw new CofferError('target-not-empty', { target: taken.path });
  mkdirSync(folder, { recursive: true });
  const results: RestoreResult[] = [];
  for (const { name, path } of targets) {
    const part = newProgress();
    const result = await restore({
      repository,
      point,
      disk: name,
      path: '',
      target: path,
      image: { format, subformat: 'dynamic' },
      conflict: undefined,
      include: [],
      dryRun: false,
      verify: false,
      progress: part,
      signal,
    });
    progress.bytesDone += part.bytesTotal;
    results.push(result);
  }
  return results;
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
