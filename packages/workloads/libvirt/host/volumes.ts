/** Volumes of storage pools: what they are on the host. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
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
  const { pool, volume } = source;
  const path =
    (await connection.volumePath(pool, volume)) ?? (await missingVolume(connection, source));
  // Of a pool on a server, it is the name of something there.
  if (path === undefined || !path.startsWith('/')) return source;
  // A path of another host tells nothing here.
  if (connection.socketPath === undefined) return { kind: 'file', path };
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats && !stats.isFile() && !stats.isBlockDevice()) return source;
  return { kind: stats?.isBlockDevice() ? 'block' : 'file', path };
}

/** Where it would be found again, of a pool that is a folder. */
async function missingVolume(
  connection: LibvirtConnection,
  { pool, volume }: Extract<DiskSource, { kind: 'volume' }>,
): Promise<string | undefined> {
  const folder = (await connection.storagePools()).find(({ name }) => name === pool)?.targetPath;
  if (!folder?.startsWith('/') || folder.startsWith('/dev') || volume.includes('/'))
    return undefined;
  return join(folder, volume);
}
