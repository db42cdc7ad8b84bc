/**
 * Keys of the further places of a chunk: one for each pack, so that a chunk that somebody names in many
 * packs costs no more than each of them.
 */
import type { ChunkId } from '../chunk/chunk-id.ts';

const NUMBER_SIZE_BYTES = 4;
/** Above the number of any pack. */
const NUMBER_MAX = 2 ** 32 - 1;

export function copyKey(id: ChunkId, packNumber: number): Buffer {
  const key = Buffer.alloc(id.length + NUMBER_SIZE_BYTES);
  key.set(id);
  key.writeUInt32BE(packNumber, id.length);
  return key;
}

/** The range of the keys of one chunk. */
export function copiesOf(id: ChunkId): { readonly start: Buffer; readonly end: Buffer } {
  return { start: copyKey(id, 0), end: copyKey(id, NUMBER_MAX) };
}
