/** Finding a path in a point of files. */
import { CofferError, type FileEntry } from '@coffer/base';
import { type ChunkReader, findInFolder, type RecoveryPoint } from '@coffer/repository';

/** What a path of a point leads to: its root folder, or an entry. */
export type PathTarget =
  | { readonly form: 'root'; readonly folder: Buffer }
  | { readonly form: 'entry'; readonly entry: FileEntry; readonly relative: Buffer };

/** Fails with `kind-mismatch` or `path-not-found`. */
export async function findPath(
  reader: ChunkReader,
  point: RecoveryPoint,
  path: string,
): Promise<PathTarget> {
  if (point.kind !== 'files') throw new CofferError('kind-mismatch', { point: point.id });
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  let folder = rootFolder(point);
  let entry: FileEntry | undefined;
  for (const name of names) {
    if (entry && !entry.folder) throw new CofferError('path-not-found', { path });
    folder = entry?.folder ?? folder;
    entry = await findInFolder(reader, folder, Buffer.from(name));
    if (!entry) throw new CofferError('path-not-found', { path });
  }
  if (!entry) return { form: 'root', folder };
  return { form: 'entry', entry, relative: Buffer.from(names.join('/')) };
}

export function rootFolder(point: RecoveryPoint): Buffer {
  const root = point.roots[0];
  if (!root) throw new CofferError('object-damaged', { what: `point ${point.id}` });
  return Buffer.from(root.root, 'hex');
}
