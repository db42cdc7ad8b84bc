/** A walk over all entries of a point of files, folders before what is in them. */
import type { FileEntry } from '@coffer/base';
import { type ChunkId, type ChunkReader, readFolder } from '@coffer/repository';
import { depthFirst } from './depth-first.ts';

export interface WalkedEntry {
  readonly entry: FileEntry;
  /** Path from where the walk began, without a leading slash. */
  readonly relative: Buffer;
}

const SLASH = Buffer.from('/');

export function walkFiles(
  reader: ChunkReader,
  folder: ChunkId,
  under: Buffer = Buffer.alloc(0),
): AsyncGenerator<WalkedEntry> {
  return depthFirst(entriesIn(reader, folder, under), ({ entry, relative }) =>
    entry.folder ? entriesIn(reader, entry.folder, relative) : undefined,
  );
}

async function* entriesIn(
  reader: ChunkReader,
  folder: ChunkId,
  under: Buffer,
): AsyncGenerator<WalkedEntry> {
  for await (const entry of readFolder(reader, folder)) {
    const relative = under.length === 0 ? entry.name : Buffer.concat([under, SLASH, entry.name]);
    yield { entry, relative };
  }
}
