/** Volumes of storage pools: what they are on the host. */
import { statSync } from 'node:fs';
import type { LibvirtConnection } from '../connection.ts';
import type { DiskSource, DomainDisk } from '../domain/disk.ts';
import type { Domain as Definition } from '../domain/domain.ts';

/** The definition with files and devices in the place of volumes, as far as the host has them. */
export async function withVolumes(
  connection: LibvirtConnection,
  definition: Definition,
): Promise<Definition> {
  const disks: DomainDisk[] = [];
  for (const disk of definition.disks) {
    disks.push({ ...disk, source: await placeOf(connection, disk.source) });
  }
  return { ...definition, disks };
}

async function placeOf(connection: LibvirtConnection, source: DiskSource): Promise<DiskSource> {
  if (source.kind !== 'volume') return source;
  const path = await connection.volumePath(source.pool, source.volume);
  // Of a pool on a server, it is the name of something there.
  const stats = path?.startsWith('/') ? statSync(path, { throwIfNoEntry: false }) : undefined;
  if (path === undefined || !(stats?.isFile() || stats?.isBlockDevice())) return source;
  return { kind: stats.isFile() ? 'file' : 'block', path };
}
