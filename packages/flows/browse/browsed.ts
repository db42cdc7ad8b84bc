/** What is browsed in a recovery point: its files, or the files on a volume of one of its disks. */
import { CofferError } from '@coffer/base';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { diskOf } from '../point-disks.ts';
import { PointFiles } from './point-files.ts';

/** A place in a point, as far as the user has named it. */
export interface BrowsedPlace {
  readonly disk: string | undefined;
  readonly volume: string | undefined;
  /** Opens encrypted volumes. */
  readonly passphrase?: Buffer | undefined;
}

/** Fails with `disk-not-found`, `volume-not-found`, and the codes of the file system. */
export async function openBrowsed(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  { disk, volume, passphrase }: BrowsedPlace,
): Promise<FileSystem> {
  if (point.kind === 'files') {
    if (disk !== undefined) throw new CofferError('disk-not-found', { point: point.id, disk });
    return new PointFiles(repository, point);
  }
  const root = diskOf(point, disk);
  if (volume === undefined) {
    throw new CofferError('volume-not-found', { reason: 'no volume is named', disk: root.name });
  }
  // Most points are browsed without any volume.
  const { openPointVolume } = await import('./point-volumes.ts');
  return await openPointVolume(repository, point, { disk: root, volume, passphrase });
}
