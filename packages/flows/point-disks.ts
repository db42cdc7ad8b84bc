/** The disks of a recovery point, by name. */
import { CofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { PointRoot, RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { PointDisk } from './browse/point-disk.ts';

/** Fails with `kind-mismatch` when the point holds no disks. */
export function disksOf(point: RecoveryPoint): readonly PointRoot[] {
  if (point.kind === 'files') {
    throw new CofferError('kind-mismatch', { point: point.id, kind: point.kind, needs: 'a disk' });
  }
  return point.roots;
}

/** The disk of that name; without a name the only one. Fails with `disk-not-found`. */
export function diskOf(point: RecoveryPoint, name: string | undefined): PointRoot {
  const disks = disksOf(point);
  const names = disks.map((each) => each.name).join(', ');
  const found =
    name === undefined && disks.length === 1 ? disks[0] : disks.find((each) => each.name === name);
  if (!found)
    throw new CofferError('disk-not-found', { point: point.id, disk: name, disks: names });
  return found;
}

export function openPointDisk(
  repository: UnlockedRepository,
  { root, sizeBytes }: PointRoot,
): Disk {
  return new PointDisk({
    reader: repository.reader(),
    work: repository.work,
    root: Buffer.from(root, 'hex'),
    sizeBytes,
  });
}
