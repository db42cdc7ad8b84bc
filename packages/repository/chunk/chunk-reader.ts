/**
 * Reads chunks: finds them in the index, fetches ranges of packs that lie together as one, opens
 * them and checks their ids. Wrong data is never returned: it is an error that names the chunk.
 */
import { CofferError, isCofferError, Semaphore } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { ChunkIndex, Location } from '../index/chunk-index.ts';
import type { RepositoryKeys } from '../keys.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { decodeNodeHead, nodeHeadLength } from '../tree/node-codec.ts';
import { ChunkHasher, type ChunkId, isZero, isZeroId } from './chunk-id.ts';
import type { ChunkWork } from './chunk-work.ts';
import { PackKeys } from './engine.ts';
import { openChunk } from './seal.ts';
import { type Slab, SLAB_SIZE_BYTES, SlabPool } from './slab.ts';

/** Ranges that are not further apart are fetched as one. */
const GAP_BYTES_MAX = 128 * 1024;
/** Ranges under way at once, so that a far store does not set the pace. */
export const FETCHES_AT_ONCE = 24;

export interface Node {
  readonly children: readonly ChunkId[];
  readonly body: Buffer;
}

/** A data chunk wanted in a slab. */
export interface ChunkRequest {
  readonly id: ChunkId;
  readonly length: number;
  readonly targetOffset: number;
}

export interface ChunkFailure {
  readonly request: ChunkRequest;
  readonly error: CofferError;
}

/** Sealed records that lie together in one pack. */
interface Extent {
  readonly packNumber: number;
  readonly offset: number;
  length: number;
  readonly parts: { readonly request: ChunkRequest; readonly location: Location }[];
}

export interface ChunkReaderOptions {
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  readonly keys: RepositoryKeys;
  readonly signal?: AbortSignal | undefined;
}

export class ChunkReader {
  readonly #options: ChunkReaderOptions;
  readonly #hasher: ChunkHasher;
  readonly #packKeys: PackKeys;
  readonly #fetches = new Semaphore(FETCHES_AT_ONCE);
  readonly #sources = new SlabPool(FETCHES_AT_ONCE);
  #refreshing: Promise<unknown> | undefined;
  #lookedAgain = false;

  constructor(options: ChunkReaderOptions) {
    this.#options = options;
    this.#hasher = new ChunkHasher(options.keys.hashKey);
    this.#packKeys = new PackKeys(options.keys.privateKey);
  }

  /** Fails with `chunk-missing` or `chunk-damaged`. */
  async readNode(id: ChunkId): Promise<Node> {
    const { record, location } = await this.#fetchRecord(id);
    return await this.#checked(id, () => {
      const headLength = nodeHeadLength(record);
      const plain = this.#open(id, location, record.subarray(headLength));
      const head = record.subarray(0, headLength);
      if (!this.#hasher.node(head, plain).equals(id)) throw wrongContent(id);
      return { children: decodeNodeHead(record), body: plain };
    });
  }

  /** One data chunk, opened in this thread. Fails with `chunk-missing` or `chunk-damaged`. */
  async readData(id: ChunkId): Promise<Buffer> {
    const { record, location } = await this.#fetchRecord(id);
    return await this.#checked(id, () => {
      const plain = this.#open(id, location, record);
      if (!this.#hasher.data(plain).equals(id)) throw wrongContent(id);
      return plain;
    });
  }

  /**
   * Reads many data chunks into the target slab, opened by `work`. Zero chunks are filled with
   * zeroes. What is missing or damaged is returned; its place in the slab has no meaning.
   */
  async readInto(
    target: Slab,
    requests: readonly ChunkRequest[],
    work: ChunkWork,
  ): Promise<ChunkFailure[]> {
    const failures: ChunkFailure[] = [];
    const extents = await this.#planExtents(target, requests, failures);
    await Promise.all(
      extents.map(async (extent) => {
        failures.push(...(await this.#readExtent(extent, target, work)));
      }),
    );
    return failures;
  }

  /** True when `plain` is what the data chunk holds: nothing has to be fetched to tell. */
  matches(id: ChunkId, plain: Buffer): boolean {
    return isZero(plain) ? isZeroId(id) : this.#hasher.data(plain).equals(id);
  }

  async #planExtents(
    target: Slab,
    requests: readonly ChunkRequest[],
    failures: ChunkFailure[],
  ): Promise<Extent[]> {
    const located: { request: ChunkRequest; location: Location }[] = [];
    for (const request of requests) {
      if (isZeroId(request.id)) {
        target.bytes.fill(0, request.targetOffset, request.targetOffset + request.length);
        continue;
      }
      const location = await this.#locate(request.id);
      const error = location ? checkLength(request, location) : missing(request.id);
      if (error) failures.push({ request, error });
      else located.push({ request, location: location! });
    }
    return joinExtents(located);
  }

  async #readExtent(extent: Extent, target: Slab, work: ChunkWork): Promise<ChunkFailure[]> {
    return await this.#sources.use(async (source) => {
      const bytes = source.bytes.subarray(0, extent.length);
      const failure = await this.#fetchExtent(extent, bytes);
      if (failure) return await this.#readSingly(extent, target);
      const { keyBoxes } = this.#options.index.requiredPack(extent.packNumber);
      const items = extent.parts.map(({ request, location }) => ({
        ...location,
        id: request.id,
        record: { offset: location.offset - extent.offset, length: location.length },
        keyBox: keyBoxes[location.keyIndex]!,
        targetOffset: request.targetOffset,
      }));
      const failed = await work.open({ source, target, items });
      return failed.map(({ itemIndex, reason }) => {
        const { request } = extent.parts[itemIndex]!;
        return { request, error: damaged(request.id, reason) };
      });
    });
  }

  async #fetchExtent(extent: Extent, bytes: Buffer): Promise<CofferError | undefined> {
    const { index, store, signal } = this.#options;
    const pack = index.pack(extent.packNumber);
    if (!pack) return new CofferError('object-not-found');
    try {
      await this.#fetches.run(() =>
        store.getInto(packObjectName(pack.pack), extent.offset, bytes, { signal }),
      );
      return undefined;
    } catch (error) {
      if (isGone(error)) return error;
      throw error;
    }
  }

  /** When a pack is gone or cut short: perhaps its chunks were moved to another one. */
  async #readSingly(extent: Extent, target: Slab): Promise<ChunkFailure[]> {
    const failures: ChunkFailure[] = [];
    for (const { request } of extent.parts) {
      try {
        target.bytes.set(await this.readData(request.id), request.targetOffset);
      } catch (error) {
        if (!isChunkError(error)) throw error;
        failures.push({ request, error });
      }
    }
    return failures;
  }

  async #fetchRecord(id: ChunkId): Promise<{ record: Buffer; location: Location }> {
    const first = await this.#locate(id);
    if (!first) throw missing(id);
    try {
      return { record: await this.#fetchAt(first), location: first };
    } catch (error) {
      if (!isGone(error)) throw error;
      // A garbage collection may have moved the chunk and removed its old pack.
      await this.#refresh();
      const second = this.#options.index.find(id);
      if (!second) throw missing(id, error);
      return { record: await this.#fetchAgain(id, second), location: second };
    }
  }

  async #fetchAgain(id: ChunkId, location: Location): Promise<Buffer> {
    try {
      return await this.#fetchAt(location);
    } catch (error) {
      if (isGone(error)) throw missing(id, error);
      throw error;
    }
  }

  async #fetchAt(location: Location): Promise<Buffer> {
    const { index, store, signal } = this.#options;
    const pack = index.pack(location.packNumber);
    if (!pack) throw new CofferError('object-not-found', { packNumber: location.packNumber });
    const { offset, length } = location;
    return await this.#fetches.run(() =>
      store.get(packObjectName(pack.pack), { offset, length }, { signal }),
    );
  }

  async #locate(id: ChunkId): Promise<Location | undefined> {
    const location = this.#options.index.find(id);
    if (location) return location;
    // Another writer may have stored it after our index was read. A look for each chunk that is
    // missing would be slow, so there is one.
    if (this.#lookedAgain) return undefined;
    await this.#refresh();
    this.#lookedAgain = true;
    return this.#options.index.find(id);
  }

  /** Reads the index anew; callers at the same time share one reading. */
  async #refresh(): Promise<void> {
    const { index, store, signal } = this.#options;
    this.#refreshing ??= index.synchronize(store, signal).finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
  }

  #open(id: ChunkId, location: Location, sealed: Buffer): Buffer {
    const { keyBoxes } = this.#options.index.requiredPack(location.packNumber);
    return openChunk(
      this.#packKeys.open(keyBoxes[location.keyIndex]!),
      { ...location, id },
      sealed,
    );
  }

  async #checked<T>(id: ChunkId, open: () => T): Promise<T> {
    try {
      return open();
    } catch (error) {
      if (isCofferError(error, 'passphrase-missing')) throw error;
      if (error instanceof CofferError) throw damaged(id, error.message, error);
      throw error;
    }
  }
}

/** Joins neighbours, so that each extent fits a slab. */
function joinExtents(
  located: { readonly request: ChunkRequest; readonly location: Location }[],
): Extent[] {
  located.sort(
    (a, b) =>
      a.location.packNumber - b.location.packNumber || a.location.offset - b.location.offset,
  );
  const extents: Extent[] = [];
  for (const part of located) {
    const { packNumber, offset, length } = part.location;
    const last = extents.at(-1);
    const joinedLength = last ? offset + length - last.offset : 0;
    if (
      last?.packNumber === packNumber &&
      offset - (last.offset + last.length) <= GAP_BYTES_MAX &&
      joinedLength <= SLAB_SIZE_BYTES
    ) {
      last.length = Math.max(last.length, joinedLength);
      last.parts.push(part);
    } else {
      extents.push({ packNumber, offset, length, parts: [part] });
    }
  }
  return extents;
}

function checkLength(request: ChunkRequest, location: Location): CofferError | undefined {
  if (location.plainLength === request.length && location.kind === 'data') return undefined;
  return damaged(request.id, 'its length or kind is not what its tree says');
}

/** The chunk itself is at fault, and nothing else. */
export function isChunkError(error: unknown): error is CofferError {
  return isCofferError(error, 'chunk-missing') || isCofferError(error, 'chunk-damaged');
}

/** The object is gone or cut short, as opposed to a store that does not answer. */
function isGone(error: unknown): error is CofferError {
  return isCofferError(error, 'object-not-found') || isCofferError(error, 'range-invalid');
}

function missing(id: ChunkId, cause?: unknown): CofferError {
  return new CofferError('chunk-missing', { chunk: id.toString('hex') }, cause);
}

function damaged(id: ChunkId, reason: string, cause?: unknown): CofferError {
  return new CofferError('chunk-damaged', { chunk: id.toString('hex'), reason }, cause);
}

function wrongContent(id: ChunkId): CofferError {
  return damaged(id, 'its content has another id');
}
