/** Moves sealed chunks from packs to a writer, as they are. No key is needed. */
import { CofferError, mapAhead } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { IndexedPack } from '../index/chunk-index.ts';
import { type EntrySet, hasEntry } from '../index/entry-set.ts';
import type { MovedChunk } from './pack-builder.ts';
import { decodePack, isPackIntact, PACK_SIZE_BYTES_MAX, packObjectName } from './pack-codec.ts';

/** Packs read ahead; each is up to 24 MiB of memory. */
const PACKS_AHEAD = 2;

export interface MoveChunksOptions {
  readonly source: { readonly store: ObjectStore };
  readonly packs: readonly IndexedPack[];
  readonly wanted: EntrySet;
  readonly move: (chunk: MovedChunk) => Promise<void>;
  readonly onPackDone?: ((pack: IndexedPack) => void) | undefined;
  /** Told of a pack that is not as its index object describes it. */
  readonly onMisdescribed?: ((pack: IndexedPack) => void) | undefined;
}

/**
 * Packs are read whole and checked against their names, since a sealed chunk alone cannot be checked
 * without a key. What a pack says of itself counts: of one that is not as it was described, all chunks
 * are moved, since nobody knows which were meant. Fails with `object-damaged` when a pack is not what its name promises.
 */
export async function moveChunks(options: MoveChunksOptions): Promise<void> {
  const { source, packs, wanted, move, onPackDone, onMisdescribed } = options;
  const fetched = mapAhead(packs, PACKS_AHEAD, async (pack) => {
    const name = packObjectName(pack.pack);
    const bytes = await source.store.get(name, { sizeBytesMax: PACK_SIZE_BYTES_MAX });
    if (isPackIntact(bytes, pack.pack)) return { pack, footer: decodePack(bytes, name), bytes };
    throw new CofferError('object-damaged', { object: name, reason: 'its digest does not match' });
  });
  for await (const { pack, footer, bytes } of fetched) {
    const isAsSaid = bytes.length === pack.sizeBytes && footer.entries.length === pack.entryCount;
    if (!isAsSaid) onMisdescribed?.(pack);
    const use = wanted.use(pack.pack.toString('hex'));
    for (const [entryIndex, entry] of footer.entries.entries()) {
      if (!use || (isAsSaid && !hasEntry(use, entryIndex))) continue;
      const record = bytes.subarray(entry.offset, entry.offset + entry.length);
      await move({ entry, keyBox: footer.keyBoxes[entry.keyIndex]!, record });
    }
    onPackDone?.(pack);
  }
}
