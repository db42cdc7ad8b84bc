/** Moves sealed chunks from packs to a writer, as they are. No key is needed. */
import { CofferError, isCofferError, mapAhead } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { ChunkId } from '../chunk/chunk-id.ts';
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
  /** Whether these chunks are those that are wanted of a pack; without it, its list of entries is trusted. */
  readonly isMeant?: ((pack: string, ids: readonly ChunkId[]) => boolean) | undefined;
  readonly onPackDone?: ((pack: IndexedPack) => void) | undefined;
  /** Told of a pack that is not as its index object describes it. */
  readonly onMisdescribed?: ((pack: IndexedPack) => void) | undefined;
  /** Told of a pack that is gone or damaged, and passed over; by default it is thrown. */
  readonly onUnusable?: ((pack: IndexedPack, error: CofferError) => void) | undefined;
}

/**
 * Packs are read whole and checked against their names, since a sealed chunk alone cannot be checked
 * without a key. What a pack says of itself counts: of one that is not as it was described, all chunks
 * are moved, since nobody knows which were meant. Fails with `object-damaged` or `object-not-found`
 * when a pack is not what its name promises.
 */
export async function moveChunks(options: MoveChunksOptions): Promise<void> {
  const { packs, wanted, move, isMeant, onPackDone, onMisdescribed } = options;
  const fetched = mapAhead(packs, PACKS_AHEAD, (pack) => fetchPack(options, pack));
  for await (const { pack, bytes } of fetched) {
    if (!bytes) continue;
    const footer = decodePack(bytes, packObjectName(pack.pack));
    const packName = pack.pack.toString('hex');
    const use = wanted.use(packName);
    if (!use) continue;
    const chosen = footer.entries.filter((_entry, index) => hasEntry(use, index));
    const isAsSaid =
      bytes.length === pack.sizeBytes &&
      footer.entries.length === pack.entryCount &&
      isMeant?.(
        packName,
        chosen.map(({ id }) => id),
      ) !== false;
    if (!isAsSaid) onMisdescribed?.(pack);
    for (const entry of isAsSaid ? chosen : footer.entries) {
      const record = bytes.subarray(entry.offset, entry.offset + entry.length);
      await move({ entry, keyBox: footer.keyBoxes[entry.keyIndex]!, record });
    }
    onPackDone?.(pack);
  }
}

interface FetchedPack {
  readonly pack: IndexedPack;
  /** Undefined when it cannot be used. */
  readonly bytes: Buffer | undefined;
}

async function fetchPack(
  { source, onUnusable }: MoveChunksOptions,
  pack: IndexedPack,
): Promise<FetchedPack> {
  const object = packObjectName(pack.pack);
  try {
    const bytes = await source.store.get(object, { sizeBytesMax: PACK_SIZE_BYTES_MAX });
    if (isPackIntact(bytes, pack.pack)) return { pack, bytes };
    throw new CofferError('object-damaged', { object, reason: 'its digest does not match' });
  } catch (error) {
    const isOfPack =
      isCofferError(error, 'object-damaged') || isCofferError(error, 'object-not-found');
    if (!isOfPack || !onUnusable) throw error;
    onUnusable(pack, error);
    return { pack, bytes: undefined };
  }
}
