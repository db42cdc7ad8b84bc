/**
 * Reads chunks: finds them in the index, fetches ranges of packs that lie together as one, opens
 * them and checks their ids. Wrong data is never returned: it is an error that names the chunk.
 */
import { CofferError, isCofferError, mapBounded } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { ChunkIndex, IndexedPack } from '../index/chunk-index.ts';
import type { Location } from '../index/location.ts';
import { decodeNodeHead, splitNodeRecord } from '../tree/node-codec.ts';
import type { BoxKeys } from './box-keys.ts';
import { ChunkHasher, type ChunkId, isZero, isZeroId } from './chunk-id.ts';
import type { ChunkWork } from './chunk-work.ts';
import type { OpenItem } from './engine.ts';
import {
  damaged,
  FETCHES_AT_ONCE,
  isChunkError,
  missing,
  RecordReader,
  type SealedRecord,
} from './record-reader.ts';
import { fitsLength, openChunk } from './seal.ts';
import { type Slab, SLAB_SIZE_BYTES, SlabPool } from './slab.ts';
import type { Node, NodeReader } from '../tree/node-reader.ts';

/** Ranges that are not further apart are fetched as one. */
const GAP_BYTES_MAX = 128 * 1024;
/** A data chunk wanted in a slab. */
export interface ChunkRequest {
  readonly id: ChunkId;
  readonly length: number;
  readonly targetOffset: number;
  /** Told the length where nobody knows it before; then `length` is the most that it can be. */
  readonly onLength?: (length: number) => void;
}

export interface ChunkFailure {
  readonly request: ChunkRequest;
  readonly error: CofferError;
}

interface Part {
  readonly request: ChunkRequest;
  readonly location: Location;
}

/** Sealed records that lie together in one pack. */
interface Extent {
  readonly packNumber: number;
  readonly offset: number;
  length: number;
  readonly parts: Part[];
}

export interface ChunkReaderOptions {
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  readonly hashKey: Buffer;
  /** Opens the key boxes of packs. */
  readonly boxKeys: BoxKeys;
  readonly signal?: AbortSignal | undefined;
}

export class ChunkReader implements NodeReader {
  readonly #options: ChunkReaderOptions;
  readonly #hasher: ChunkHasher;
  readonly #records: RecordReader;
  readonly #sources = new SlabPool(FETCHES_AT_ONCE);

  constructor(options: ChunkReaderOptions) {
    this.#options = options;
    this.#hasher = new ChunkHasher(options.hashKey);
    this.#records = new RecordReader(options);
  }

  /** Fails with `chunk-missing` or `chunk-damaged`. */
  async readNode(id: ChunkId): Promise<Node> {
    return await this.#records.unlessIndexIsWrong(id, () => this.#readNodeOnce(id));
  }

  async #readNodeOnce(id: ChunkId): Promise<Node> {
    return await this.#read(id, ({ record, location }, packKey) => {
      const { head, sealedBody } = splitNodeRecord(id, record);
      const plain = openChunk(packKey, { ...location, id }, sealedBody);
      if (!this.#hasher.node(head, plain).equals(id)) throw wrongContent(id);
      return { children: decodeNodeHead(record), body: plain };
    });
  }

  /** One data chunk, opened in this thread. Fails with `chunk-missing` or `chunk-damaged`. */
  async readData(id: ChunkId): Promise<Buffer> {
    return await this.#records.unlessIndexIsWrong(id, () => this.#readDataOnce(id));
  }

  async #readDataOnce(id: ChunkId): Promise<Buffer> {
    return await this.#read(id, ({ record, location }, packKey) => {
      const plain = openChunk(packKey, { ...location, id }, record);
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
    await mapBounded(extents, FETCHES_AT_ONCE, async (extent) => {
      failures.push(...(await this.#readExtent(extent, target, work)));
    });
    // One by one, other places are tried, and the local index is held against the index objects.
    const again = failures.map(({ request }) => request);
    return again.length === 0 ? [] : await this.#readSingly(again, target);
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
      const location = await this.#placeOf(request);
      if (location instanceof CofferError) failures.push({ request, error: location });
      else located.push({ request, location });
    }
    return joinExtents(located);
  }

  /** A place that has what the tree says of the chunk. */
  async #placeOf(request: ChunkRequest): Promise<Location | CofferError> {
    const first = await this.#records.locate(request.id);
    if (!first) return missing(request.id);
    if (fits(request, first)) return first;
    const other = this.#options.index.places(request.id).find((place) => fits(request, place));
    return other ?? otherLength(request);
  }

  async #readExtent(extent: Extent, target: Slab, work: ChunkWork): Promise<ChunkFailure[]> {
    // Looked up before anything is awaited: afterwards the pack may have left the index.
    const pack = this.#options.index.pack(extent.packNumber);
    if (!pack) return missingOf(extent.parts);
    const opening = this.#openBoxes(pack, extent);
    // It is looked at after the bytes are here; until then its failure must not count as unhandled.
    opening.catch(() => {});
    return await this.#sources.use(async (source) => {
      const bytes = source.bytes.subarray(0, extent.length);
      const isFetched = await this.#records.fetchInto(pack, extent.offset, bytes);
      if (!isFetched) return missingOf(extent.parts);
      const keys = await opening;
      const isOpen = ({ location }: Part): boolean => keys.has(location.keyIndex);
      const parts = extent.parts.filter(isOpen);
      const items = parts.map((part) => itemOf(part, extent, { pack, keys }));
      const { failures, lengths } = await work.open({ source, target, items });
      parts.forEach(({ request }, index) => request.onLength?.(lengths[index]!));
      const broken = failures.map(({ itemIndex, reason }) => {
        const { request } = parts[itemIndex]!;
        return { request, error: damaged(request.id, reason) };
      });
      return [...broken, ...missingOf(extent.parts.filter((part) => !isOpen(part)))];
    });
  }

  /** The keys of the pack that the extent needs; without those of boxes that do not open. */
  async #openBoxes(pack: IndexedPack, { parts }: Extent): Promise<ReadonlyMap<number, Buffer>> {
    const opened = new Map<number, Buffer>();
    const wanted = new Set(parts.map(({ location }) => location.keyIndex));
    await Promise.all(
      [...wanted].map(async (keyIndex) => {
        const box = pack.keyBoxes[keyIndex];
        const key = box && (await this.#keyIn(box));
        if (key) opened.set(keyIndex, key);
      }),
    );
    return opened;
  }

  /** Undefined when the box was not sealed to the private key, or is not opened for us. */
  async #keyIn(box: Buffer): Promise<Buffer | undefined> {
    try {
      return await this.#options.boxKeys.open(box);
    } catch (error) {
      // They are read one by one then, which tells why, and finds other places.
      if (isOfBox(error)) return undefined;
      throw error;
    }
  }

  /** Where a pack is gone, cut short, or holds something else: another one may have the chunk, too. */
  async #readSingly(requests: readonly ChunkRequest[], target: Slab): Promise<ChunkFailure[]> {
    const failures: ChunkFailure[] = [];
    for (const request of requests) {
      try {
        const plain = await this.readData(request.id);
        if (!isAsLong(request, plain.length)) throw otherLength(request);
        request.onLength?.(plain.length);
        target.bytes.set(plain, request.targetOffset);
      } catch (error) {
        if (!isChunkError(error)) throw error;
        failures.push({ request, error });
      }
    }
    return failures;
  }

  /** What is damaged, forged, or not opened for us at one place may be whole at another one. */
  async #read<T>(id: ChunkId, open: Open<T>): Promise<T> {
    const sealed = await this.#records.fetch(id);
    try {
      return await this.#openAt(id, sealed, open);
    } catch (error) {
      if (!isOfPlace(error)) throw error;
      for (const place of this.#options.index.places(id)) {
        const other = await this.#records.fetchIfThere(place);
        const opened = other && (await this.#openIfIntact(id, other, open));
        if (opened) return opened.value;
      }
      throw error;
    }
  }

  /** Fails with `chunk-damaged`, `key-refused`, or as who opens boxes does. */
  async #openAt<T>(id: ChunkId, sealed: SealedRecord, open: Open<T>): Promise<T> {
    try {
      return open(sealed, await this.#options.boxKeys.open(sealed.keyBox));
    } catch (error) {
      if (isCofferError(error) && DAMAGES.some((code) => code === error.code)) {
        throw damaged(id, error.message, error);
      }
      throw error;
    }
  }

  async #openIfIntact<T>(
    id: ChunkId,
    sealed: SealedRecord,
    open: Open<T>,
  ): Promise<{ readonly value: T } | undefined> {
    try {
      return { value: await this.#openAt(id, sealed, open) };
    } catch (error) {
      if (isOfPlace(error)) return undefined;
      throw error;
    }
  }
}

type Open<T> = (sealed: SealedRecord, packKey: Buffer) => T;

/** What is told of a record, or its box, that is not what it should be. */
const DAMAGES = ['object-damaged', 'chunk-damaged'] as const;

function isOfBox(error: unknown): error is CofferError {
  return isCofferError(error, 'object-damaged') || isCofferError(error, 'key-refused');
}

function isOfPlace(error: unknown): error is CofferError {
  return isChunkError(error) || isCofferError(error, 'key-refused');
}

function missingOf(parts: readonly Part[]): ChunkFailure[] {
  return parts.map(({ request }) => ({ request, error: missing(request.id) }));
}

function itemOf(
  { request, location }: Part,
  { offset }: Extent,
  { pack, keys }: { readonly pack: IndexedPack; readonly keys: ReadonlyMap<number, Buffer> },
): OpenItem {
  return {
    ...location,
    id: request.id,
    record: { offset: location.offset - offset, length: location.length },
    keyBox: pack.keyBoxes[location.keyIndex]!,
    packKey: keys.get(location.keyIndex),
    targetOffset: request.targetOffset,
    exactLength: request.onLength ? undefined : request.length,
  };
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

function fits({ id, length }: ChunkRequest, place: Location): boolean {
  return place.kind === 'data' && fitsLength({ ...place, id }, length);
}

function isAsLong({ length, onLength }: ChunkRequest, plainLength: number): boolean {
  return onLength ? plainLength <= length : plainLength === length;
}

function otherLength({ id }: ChunkRequest): CofferError {
  return damaged(id, 'its length or kind is not what its tree says');
}

function wrongContent(id: ChunkId): CofferError {
  return damaged(id, 'its content has another id');
}
