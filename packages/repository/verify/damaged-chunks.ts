/** Which chunks of a damaged pack are damaged. */
import { CofferError } from '@coffer/base';
import { ChunkHasher, type ChunkId } from '../chunk/chunk-id.ts';
import { PackKeys } from '../chunk/engine.ts';
import { openChunk } from '../chunk/seal.ts';
import type { IndexedPack } from '../index/chunk-index.ts';
import type { RepositoryKeys } from '../keys.ts';
import type { PackEntry } from '../pack/pack-codec.ts';
import type { Repository } from '../repository.ts';
import { nodeHeadLength } from '../tree/node-codec.ts';

/**
 * Ids of the chunks that cannot be opened. Without a key, or without the bytes, that may be any
 * chunk of the pack, so all are told.
 */
export function damagedChunks(
  repository: Repository,
  pack: IndexedPack,
  bytes: Buffer | undefined,
): ChunkId[] {
  const entries = [...repository.index.entriesOf(pack)];
  const { keys } = repository;
  if (bytes === undefined || !keys) return entries.map(({ id }) => id);
  return entries.filter((entry) => !isIntact(keys, pack, entry, bytes)).map(({ id }) => id);
}

/** True when the chunk opens to what its id says. */
export function isIntact(
  keys: RepositoryKeys,
  pack: Pick<IndexedPack, 'keyBoxes'>,
  entry: PackEntry,
  bytes: Buffer,
): boolean {
  const hasher = new ChunkHasher(keys.hashKey);
  const record = bytes.subarray(entry.offset, entry.offset + entry.length);
  try {
    const headLength = entry.kind === 'node' ? nodeHeadLength(record) : 0;
    const key = new PackKeys(keys.privateKey).open(pack.keyBoxes[entry.keyIndex]!);
    const plain = openChunk(key, entry, record.subarray(headLength));
    const id =
      entry.kind === 'node'
        ? hasher.node(record.subarray(0, headLength), plain)
        : hasher.data(plain);
    return id.equals(entry.id);
  } catch (error) {
    if (error instanceof CofferError) return false;
    throw error;
  }
}
