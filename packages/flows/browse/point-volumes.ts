/** The volumes on the disks of a recovery point, and the file systems on them. */
import { CofferError } from '@coffer/base';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import { openFileSystem } from '@coffer/file-system/volumes/open-file-system.ts';
import { listVolumes, type Volume } from '@coffer/file-system/volumes/volumes.ts';
import type { PointRoot, RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { disksOf, openPointDisk } from '../point-disks.ts';

export interface PointVolume {
  /** The disk that it is on, or begins on. */
  readonly disk: PointRoot;
  readonly volume: Volume;
}

export interface VolumesOptions {
  /** Opens encrypted volumes. */
  readonly passphrase?: Buffer | undefined;
}

/** Of all disks together, since logical volumes may lie on several. */
export async function volumesOfPoint(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  { passphrase }: VolumesOptions,
): Promise<PointVolume[]> {
  const roots = disksOf(point);
  const disks = roots.map((root) => openPointDisk(repository, root));
  const volumes = await listVolumes(disks, { passphrase });
  return volumes.map((volume) => ({ disk: roots[volume.diskIndex]!, volume }));
}

/** Fails with `volume-not-found`, and with the codes of `openFileSystem`. */
export async function openPointVolume(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  wanted: VolumesOptions & { readonly disk: PointRoot; readonly volume: string },
): Promise<FileSystem> {
  const all = await volumesOfPoint(repository, point, wanted);
  const onDisk = all.filter(({ disk }) => disk.name === wanted.disk.name);
  const found = onDisk.find(({ volume }) => volume.name === wanted.volume);
  if (!found) {
    const volumes = onDisk.map(({ volume }) => volume.name).join(', ');
    throw new CofferError('volume-not-found', { volume: wanted.volume, volumes });
  }
  if (found.volume.problem) throw found.volume.problem;
  return await openFileSystem(found.volume.open());
}
