/** The names at a path of a point: of a folder what is in it, of all else itself. */
import type { FileEntry } from '@coffer/base';
import { type ChunkReader, readFolder, type RecoveryPoint } from '@coffer/repository';
import { findPath } from '../point-path.ts';
import { walkFiles, type WalkedEntry } from '../walk.ts';

export interface ListOptions {
  readonly point: RecoveryPoint;
  /** Empty for the root. */
  readonly path: string;
  /** Also what is in the folders below. */
  readonly recursive: boolean;
}

/** Entries with their paths from the root of the point. Fails with `path-not-found`. */
export async function* listPath(
  reader: ChunkReader,
  { point, path, recursive }: ListOptions,
): AsyncGenerator<WalkedEntry> {
  const found = await findPath(reader, point, path);
  if (found.form === 'entry' && !found.entry.folder) {
    yield { entry: found.entry, relative: found.relative };
    return;
  }
  const folder = found.form === 'root' ? found.folder : found.entry.folder;
  const under = found.form === 'root' ? Buffer.alloc(0) : found.relative;
  if (!folder) return;
  if (recursive) yield* walkFiles(reader, folder, under);
  else {
    for await (const entry of readFolder(reader, folder)) {
      yield { entry, relative: joinRelative(under, entry) };
    }
  }
}

function joinRelative(under: Buffer, { name }: FileEntry): Buffer {
  return under.length === 0 ? name : Buffer.concat([under, Buffer.from('/'), name]);
}
