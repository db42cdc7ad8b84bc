/**
 * What tells the images of a machine apart. Disks may change their places in a definition, and files
 * their names; all bitmaps of a checkpoint have one name, and tell nothing of the disk that they are of.
 */
import { type BigIntStats, statSync } from 'node:fs';
import { type DomainDisk } from '../domain/disk.ts';

/** Of the image and of all that it lies on, as far as they are files of this host. */
export function identitiesOf({ source, backing = [] }: DomainDisk): string[] {
  const sources = [source, ...backing.map((image) => image.source)];
  return sources.flatMap((each) => {
    if (each.kind !== 'file' && each.kind !== 'block') return [];
    const stats = statSync(each.path, { bigint: true, throwIfNoEntry: false });
    return stats ? [identityOf(stats)] : [];
  });
}

/** Devices get other numbers when a host starts; the birth of a file stays, where it is known. */
function identityOf({ dev, ino, birthtimeNs, ctimeNs, rdev }: BigIntStats): string {
  if (rdev !== 0n) return `device ${rdev}`;
  const isBirthKnown = birthtimeNs > 0n && birthtimeNs !== ctimeNs;
  return isBirthKnown ? `file ${ino} born ${birthtimeNs}` : `file ${ino} on ${dev}`;
}
