/**
 * Fetches sealed records from packs. It needs no key: garbage collection, verification and copying
 * walk trees with it. When a pack is gone, the index is read anew and the record is looked for once
 * more, since a garbage collection may have moved it.
 */
import { CofferError, isCofferError, Semaphore } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { AcceptsPack, ChunkIndex, IndexedPack } from '../index/chunk-index.ts';
import { IndexDoubt } from '../index/index-doubt.ts';
import type { Location } from '../index/location.ts';
import type { MovedChunk } from '../pack/pack-builder.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { decodeNodeHead, splitNodeRecord } from '../tree/node-codec.ts';
import { type ChunkId, kindOf } from './chunk-id.ts';

/** Ranges under way at once, so that a far store does not set the pace. */
export const FETCHES_AT_ONCE = 24;

/** Nodes that are read together lie together, so they are fetched in blocks of this size. */
const NODE_BLOCK_BYTES = 1024 * 1024;
const NODE_BLOCKS_CACHED_MAX = 32;
const NODE_BLOCKS_AHEAD = 2;

export interface SealedRecord {
  readonly record: Buffer;
  readonly location: Location;
  /** Of the pack that it was fetched from, which may be gone by now. */
  readonly keyBox: Buffer;
}

export interface RecordReaderOptions {
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  readonly signal?: AbortSignal | undefined;
}

export class RecordReader {
  readonly #options: RecordReaderOptions;
  readonly #fetches = new Semaphore(FETCHES_AT_ONCE);
  readonly #blocks = new Map<string, Promise<Buffer>>();
  readonly #doubt: IndexDoubt;
  #refreshing: Promise<unknown> | undefined;
  /** How often the index had been replaced then. */
  #lookedAgainAfter: number | undefined;

  constructor(options: RecordReaderOptions) {
    this.#options = options;
    this.#doubt = new IndexDoubt(options);
  }

  /**
   * The children of a node, which are readable without a key, and are those that its id promises.
   * Places that are forged, damaged or gone are passed over. Fails with `chunk-missing` or
   * `chunk-damaged` when there is no other.
   */
  async readChildren(id: ChunkId, accepts?: AcceptsPack): Promise<ChunkId[]> {
    return await this.unlessIndexIsWrong(id, () => this.#readChildrenOnce(id, accepts));
  }

  /**
   * Runs the task again when it fails for the chunk, and it was the local index that was wrong about
   * it: damage of the repository is told only when its own index objects say the same.
   */
  async unlessIndexIsWrong<T>(id: ChunkId, task: () => Promise<T>): Promise<T> {
    try {
      return await task();
    } catch (error) {
      if (!isChunkError(error) || !(await this.#doubt.isIndexWrong(id))) throw error;
      return await task();
    }
  }

  async #readChildrenOnce(id: ChunkId, accepts: AcceptsPack | undefined): Promise<ChunkId[]> {
    for (const place of this.#options.index.places(id, accepts)) {
      const children = await this.readChildrenAt(id, place);
      if (children) return children;
    }
    // It may have been moved meanwhile.
    return childrenOf(id, await this.fetch(id));
  }

  /** As one place names them; undefined when it cannot be read, or is not the node. */
  async readChildrenAt(id: ChunkId, place: Location): Promise<ChunkId[] | undefined> {
    const sealed = await this.fetchIfThere(place);
    try {
      return sealed && childrenOf(id, sealed);
    } catch (error) {
      if (isChunkError(error)) return undefined;
      throw error;
    }
  }

  /** Whether one of the places holds the same sealed chunk, byte for byte. Places may be gone. */
  async isAmong(chunk: MovedChunk, places: readonly Location[]): Promise<boolean> {
    for (const place of places) {
      if (haveSameSeal(place, chunk.entry) && (await this.#holds(place, chunk))) return true;
    }
    return false;
  }

  async #holds(place: Location, { keyBox, record }: MovedChunk): Promise<boolean> {
    const stored = await this.fetchIfThere(place);
    return stored !== undefined && stored.keyBox.equals(keyBox) && stored.record.equals(record);
  }

  /** Undefined when the pack is gone or cut short. */
  async fetchIfThere(place: Location): Promise<SealedRecord | undefined> {
    try {
      return await this.fetchAt(place);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  /** Fails with `chunk-missing`, when the index does not know the chunk or its pack is gone. */
  async fetch(id: ChunkId): Promise<SealedRecord> {
    return await this.unlessIndexIsWrong(id, () => this.#fetchOnce(id));
  }

  async #fetchOnce(id: ChunkId): Promise<SealedRecord> {
    if (!(await this.locate(id))) throw missing(id);
    const sealed = await this.#fetchAny(id);
    if (sealed) return sealed;
    await this.#refresh();
    const moved = await this.#fetchAny(id);
    if (!moved) throw missing(id);
    return moved;
  }

  /** From the first of its places that is there. */
  async #fetchAny(id: ChunkId): Promise<SealedRecord | undefined> {
    for (const place of this.#options.index.places(id)) {
      const sealed = await this.fetchIfThere(place);
      if (sealed) return sealed;
    }
    return undefined;
  }

  /** Where a chunk lies; undefined when it is not stored. */
  async locate(id: ChunkId): Promise<Location | undefined> {
    const location = this.#options.index.find(id);
    if (location) return location;
    // Another writer may have stored it after our index was read. A look for each chunk that is
    // missing would be slow, so there is one, and one more when the index was replaced.
    if (this.#lookedAgainAfter === this.#options.index.replacementCount) return undefined;
    await this.#refresh();
    this.#lookedAgainAfter = this.#options.index.replacementCount;
    return this.#options.index.find(id);
  }

  /** Fills `target` from a pack; false when the pack is gone or cut short. */
  async fetchInto({ pack }: IndexedPack, offset: number, target: Buffer): Promise<boolean> {
    const { store, signal } = this.#options;
    try {
      await this.#fetches.run(() =>
        store.getInto(packObjectName(pack), offset, target, { signal }),
      );
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  /** Fails with `object-not-found` or `range-invalid` when the pack is gone or cut short. */
  async fetchAt(location: Location): Promise<SealedRecord> {
    const { packNumber, offset, length } = location;
    // Looked up before anything is awaited: afterwards the pack may have left the index.
    const keyBox = this.#options.index.pack(packNumber)?.keyBoxes[location.keyIndex];
    if (!keyBox) throw new CofferError('object-not-found', { packNumber });
    const record =
      location.kind === 'node'
        ? await this.#fetchNode(location)
        : await this.#fetchRange(packNumber, offset, length);
    return { record, location, keyBox };
  }

  async #fetchNode(location: Location): Promise<Buffer> {
    const { packNumber, offset, length } = location;
    try {
      return await this.#fetchFromBlocks(location);
    } catch (error) {
      // An index object may say that the pack is larger, or smaller, than it is.
      if (!isCofferError(error, 'range-invalid')) throw error;
      return await this.#fetchRange(packNumber, offset, length);
    }
  }

  async #fetchFromBlocks({ packNumber, offset, length }: Location): Promise<Buffer> {
    const first = Math.floor(offset / NODE_BLOCK_BYTES);
    const last = Math.floor((offset + length - 1) / NODE_BLOCK_BYTES);
    const blocks: Promise<Buffer>[] = [];
    for (let index = first; index <= last; index++) blocks.push(this.#block(packNumber, index));
    const fetched = await Promise.all(blocks);
    // Whoever reads one block of nodes mostly goes on with the next: over a far store that saves
    // the time of a round trip for each.
    for (let ahead = 1; ahead <= NODE_BLOCKS_AHEAD; ahead++)
      this.#prefetch(packNumber, last + ahead);
    const bytes = fetched.length === 1 ? fetched[0]! : Buffer.concat(fetched);
    const start = offset - first * NODE_BLOCK_BYTES;
    if (start + length > bytes.length) throw new CofferError('range-invalid', { packNumber });
    return bytes.subarray(start, start + length);
  }

  #prefetch(packNumber: number, blockIndex: number): void {
    const sizeBytes = this.#options.index.pack(packNumber)?.sizeBytes ?? 0;
    if (blockIndex * NODE_BLOCK_BYTES >= sizeBytes) return;
    // Nobody waits for it; who needs it later fetches it anew when it failed.
    this.#block(packNumber, blockIndex).catch(() => {});
  }

  #block(packNumber: number, blockIndex: number): Promise<Buffer> {
    const key = `${packNumber}:${blockIndex}`;
    const known = this.#blocks.get(key);
    if (known) {
      // The last place is that of the block used last.
      this.#blocks.delete(key);
      this.#blocks.set(key, known);
      return known;
    }
    const offset = blockIndex * NODE_BLOCK_BYTES;
    const sizeBytes = this.#options.index.pack(packNumber)?.sizeBytes ?? 0;
    const length = Math.min(NODE_BLOCK_BYTES, sizeBytes - offset);
    const block = this.#fetchRange(packNumber, offset, length);
    this.#blocks.set(key, block);
    block.catch(() => this.#blocks.delete(key));
    if (this.#blocks.size > NODE_BLOCKS_CACHED_MAX) {
      for (const oldest of this.#blocks.keys()) {
        this.#blocks.delete(oldest);
        break;
      }
    }
    return block;
  }

  async #fetchRange(packNumber: number, offset: number, length: number): Promise<Buffer> {
    const { index, store, signal } = this.#options;
    const pack = index.pack(packNumber);
    if (!pack || length <= 0) throw new CofferError('object-not-found', { packNumber });
    return await this.#fetches.run(() =>
      store.getRange(packObjectName(pack.pack), { offset, length }, { signal }),
    );
  }

  /** Reads the index anew; callers at the same time share one reading. */
  async #refresh(): Promise<void> {
    const { index, store, signal } = this.#options;
    this.#refreshing ??= index.synchronize(store, signal).finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
  }
}

function childrenOf(id: ChunkId, { record }: SealedRecord): ChunkId[] {
  if (kindOf(id) !== 'node') throw damaged(id, 'it is data where a node is expected');
  try {
    splitNodeRecord(id, record);
    return decodeNodeHead(record);
  } catch (error) {
    throw isCofferError(error) ? damaged(id, error.message, error) : error;
  }
}

/** What is said of a record in clear, but for where it lies. */
function haveSameSeal(a: SealFacts, b: SealFacts): boolean {
  return (
    a.kind === b.kind &&
    a.compressed === b.compressed &&
    a.padded === b.padded &&
    a.ordinal === b.ordinal &&
    a.length === b.length &&
    a.plainLength === b.plainLength
  );
}

type SealFacts = Pick<
  Location,
  'kind' | 'compressed' | 'padded' | 'ordinal' | 'length' | 'plainLength'
>;

/** The chunk itself is at fault, and nothing else. */
export function isChunkError(error: unknown): error is CofferError {
  return isCofferError(error, 'chunk-missing') || isCofferError(error, 'chunk-damaged');
}

/** The object is gone or cut short, as opposed to a store that does not answer. */
function isGone(error: unknown): error is CofferError {
  return isCofferError(error, 'object-not-found') || isCofferError(error, 'range-invalid');
}

export function missing(id: ChunkId, cause?: unknown): CofferError {
  return new CofferError('chunk-missing', { chunk: id.toString('hex') }, cause);
}

export function damaged(id: ChunkId, reason: string, cause?: unknown): CofferError {
  return new CofferError('chunk-damaged', { chunk: id.toString('hex'), reason }, cause);
}
