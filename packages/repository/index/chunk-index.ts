/**
 * The local index: which chunk lies where. It is a cache of the `index/` objects in LMDB, read
 * through a memory map, so that its memory does not grow with the repository; it can be thrown away
 * at any time.
 *
 * Invariants: it holds what index objects say and nothing else, and a chunk is found only in packs
 * that are named by an index object that still exists. A chunk that lies in two packs is found as
 * long as one of them is there. Entries of packs that are gone are dropped bit by bit.
 */
import { mkdirSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { CofferError, mapBounded, required } from '@coffer/base';
import { releaseMappedPages } from '@coffer/base/libc.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { type Database, open, type RootDatabase } from 'lmdb';
import type { ChunkId } from '../chunk/chunk-id.ts';
import { isIndexObjectValid, readGcStateIfIntact } from '../gc/gc-record.ts';
import { KEY_BOX_SIZE_BYTES, type PackDescription, type PackEntry } from '../pack/pack-codec.ts';
import { decodeIndexObject, INDEX_OBJECT_SIZE_BYTES_MAX, type IndexObject } from './index-codec.ts';
import { type Location, LOCATION_SIZE_BYTES, readLocation, writeLocation } from './location.ts';
import { StaleEntries } from './stale-entries.ts';

/** Index objects fetched at once. */
const FETCHES_AT_ONCE = 8;
/** Packs whose names and keys are kept at hand. */
const PACKS_CACHED_MAX = 4096;
/** What LMDB calls its file. */
const DATA_FILE = 'data.mdb';
/** After so many looks the mapped pages, 32 MiB by then, are given back: one look maps 64 KiB. */
const TOUCHES_MAX = 512;
/** So many steps are made to drop what is gone when the index is synchronized: half a second. */
const STALE_STEPS_MAX = 16;
/** Under which the number of the next pack is stored. */
const NEXT_PACK_NUMBER = 'nextPackNumber';

/**
 * A pack as the index knows it. Numbers are local, and never used twice, not even after the pack of
 * the highest number was removed: locations that name a removed pack stay, and must not come to mean
 * another one. So the next number is stored.
 */
export interface IndexedPack {
  readonly packNumber: number;
  readonly pack: Buffer;
  readonly sizeBytes: number;
  readonly entryCount: number;
  readonly keyBoxes: readonly Buffer[];
  /** The index object that names it. */
  readonly object: string;
}

/** What the store held when the index was made equal to it. */
export interface Synchronized {
  readonly damaged: readonly CofferError[];
  /** Names of the index objects that count. */
  readonly objects: ReadonlySet<string>;
}

/** Says of a pack, by its number, whether its chunks count as stored. */
export type AcceptsPack = (packNumber: number) => boolean;

interface StoredPack {
  readonly pack: string;
  readonly sizeBytes: number;
  readonly entryCount: number;
  readonly keyBoxes: string;
  readonly object: string;
}

export class ChunkIndex {
  readonly #root: RootDatabase;
  readonly #file: string;
  #touches = 0;
  /** Chunk id to its location. */
  readonly #chunks: Database<Buffer, Buffer>;
  /** Chunk id to further locations of the same chunk, one after the other. */
  readonly #copies: Database<Buffer, Buffer>;
  readonly #packs: Database<StoredPack, number>;
  /** Loaded index objects, with the numbers of their packs. */
  readonly #objects: Database<number[], string>;
  readonly #packCache = new Map<number, IndexedPack | undefined>();
  readonly #counters: Database<number, string>;
  readonly #stale: StaleEntries;

  private constructor(folder: string) {
    const root = openDatabase(folder);
    this.#root = root;
    this.#file = realpathSync(join(folder, DATA_FILE));
    this.#chunks = root.openDB({ name: 'chunks', keyEncoding: 'binary', encoding: 'binary' });
    this.#copies = root.openDB({ name: 'copies', keyEncoding: 'binary', encoding: 'binary' });
    this.#packs = root.openDB({ name: 'packs', keyEncoding: 'uint32', encoding: 'json' });
    this.#objects = root.openDB({ name: 'objects', encoding: 'json' });
    this.#counters = root.openDB({ name: 'counters', encoding: 'json' });
    this.#stale = new StaleEntries(root, this.#chunks, this.#copies, this.#packs);
    // Empty, or of an earlier make, whose numbers cannot be trusted.
    if (this.#counters.get(NEXT_PACK_NUMBER) === undefined) this.clear();
  }

  /** Opens the index in `folder`, or makes an empty one; a damaged one is made anew. */
  static open(folder: string): ChunkIndex {
    mkdirSync(folder, { recursive: true });
    try {
      return new ChunkIndex(folder);
    } catch {
      // It is a cache: what cannot be read is built again from the store.
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      return new ChunkIndex(folder);
    }
  }

  async close(): Promise<void> {
    await this.#root.close();
  }

  /** Where a chunk lies, in a pack that `accepts` allows; undefined when it is not stored. */
  find(id: ChunkId, accepts: AcceptsPack = () => true): Location | undefined {
    this.#touch();
    const bytes = this.#chunks.getBinaryFast(id);
    if (bytes === undefined) return undefined;
    const first = readLocation(bytes, 0);
    if (this.pack(first.packNumber) && accepts(first.packNumber)) return first;
    return this.#findCopy(id, accepts);
  }

  /**
   * All places of a chunk, in packs that `accepts` allows. Who has no key cannot tell which of them
   * hold what the id says: whoever can add objects can add a place.
   */
  places(id: ChunkId, accepts: AcceptsPack = () => true): Location[] {
    this.#touch();
    const first = this.#chunks.getBinaryFast(id);
    if (first === undefined) return [];
    const places = [readLocation(first, 0)];
    const copies = this.#copies.getBinary(id) ?? Buffer.alloc(0);
    for (let offset = 0; offset < copies.length; offset += LOCATION_SIZE_BYTES) {
      places.push(readLocation(copies, offset));
    }
    return places.filter(({ packNumber }) => this.pack(packNumber) && accepts(packNumber));
  }

  pack(packNumber: number): IndexedPack | undefined {
    const cached = this.#packCache.get(packNumber);
    if (cached !== undefined || this.#packCache.has(packNumber)) return cached;
    const stored = this.#packs.get(packNumber);
    const pack = stored && toIndexedPack(packNumber, stored);
    if (this.#packCache.size >= PACKS_CACHED_MAX) this.#packCache.clear();
    this.#packCache.set(packNumber, pack);
    return pack;
  }

  /**
   * Accepts packs that one of these index objects names, and that are not condemned (hexadecimal).
   * Another process with the same cache may add objects at any time, also such that do not count any
   * more: a session that was fenced and does not know it yet. So what must be right asks with the
   * objects that it saw in the store itself.
   */
  acceptor(objects: ReadonlySet<string>, condemned: ReadonlySet<string> = new Set()): AcceptsPack {
    const known = new Map<number, boolean>();
    return (packNumber) => {
      const decided = known.get(packNumber);
      if (decided !== undefined) return decided;
      const pack = this.pack(packNumber);
      const accepted =
        pack !== undefined && objects.has(pack.object) && !condemned.has(pack.pack.toString('hex'));
      known.set(packNumber, accepted);
      return accepted;
    };
  }

  requiredPack(packNumber: number): IndexedPack {
    return required(this.pack(packNumber), 'a located chunk lies in a known pack');
  }

  /** All packs. */
  *packs(): Iterable<IndexedPack> {
    for (const { key, value } of this.#packs.getRange()) yield toIndexedPack(key, value);
  }

  /** What is in a pack, by a walk over the whole index: for the rare case that it is damaged. */
  *entriesOf({ packNumber }: IndexedPack): Iterable<PackEntry> {
    for (const { key, value } of this.#chunks.getRange()) {
      const location = readLocation(value, 0);
      if (location.packNumber === packNumber) yield { ...location, id: Buffer.from(key) };
    }
    for (const { key, value } of this.#copies.getRange()) {
      for (let offset = 0; offset < value.length; offset += LOCATION_SIZE_BYTES) {
        const location = readLocation(value, offset);
        if (location.packNumber === packNumber) yield { ...location, id: Buffer.from(key) };
      }
    }
  }

  get chunkCount(): number {
    return (this.#chunks.getStats() as { entryCount: number }).entryCount;
  }

  hasObject(name: string): boolean {
    return this.#objects.doesExist(name);
  }

  /** Adds what one index object says. */
  add(name: string, packs: readonly PackDescription[]): void {
    this.#root.transactionSync(() => {
      // Another process may have been faster, with the same cache.
      if (this.#objects.doesExist(name)) return;
      let packNumber = this.#counters.get(NEXT_PACK_NUMBER) ?? 1;
      const numbers: number[] = [];
      for (const pack of packs) {
        this.#packs.putSync(packNumber, toStoredPack(name, pack));
        this.#packCache.delete(packNumber);
        this.#addEntries(packNumber, pack.entries);
        numbers.push(packNumber++);
      }
      this.#objects.putSync(name, numbers);
      this.#counters.putSync(NEXT_PACK_NUMBER, packNumber);
    });
  }

  /**
   * Makes the index equal to the `index/` objects of the store that count. Damaged objects are left
   * out and returned, so that the caller decides what that means; when the records of collections
   * are damaged, all index objects count.
   */
  async synchronize(
    store: ObjectStore,
    signal?: AbortSignal,
    { staleStepsMax = STALE_STEPS_MAX } = {},
  ): Promise<Synchronized> {
    // Another process with the same cache may have changed it meanwhile.
    this.#packCache.clear();
    const damaged: CofferError[] = [];
    const state = await readGcStateIfIntact(store, (error) => damaged.push(error));
    // Before the store is asked: what another process adds from now on may be newer than its answer.
    const known = Array.from(this.#objects.getKeys());
    const present = new Set<string>();
    for await (const { name } of store.list('index/', { signal })) {
      if (isIndexObjectValid(name, state)) present.add(name);
    }
    const missing = [...present].filter((name) => !this.hasObject(name));
    await mapBounded(missing, FETCHES_AT_ONCE, async (name) => {
      try {
        this.add(name, decodeIndexObject(await fetchIndexObject(store, name, signal)));
      } catch (error) {
        if (!(error instanceof CofferError)) throw error;
        // A garbage collection may replace index objects while we read them.
        if (error.code === 'object-not-found') return;
        if (error.code !== 'object-damaged') throw error;
        damaged.push(error);
      }
    });
    // What replaces them is there by now, so that nobody who reads meanwhile misses a chunk.
    for (const name of known) if (!present.has(name)) this.#remove(name);
    await this.dropStale(staleStepsMax);
    return { damaged, objects: present };
  }

  /** Drops entries of packs that are gone, in steps that others can work between. */
  async dropStale(stepsMax = Number.POSITIVE_INFINITY): Promise<void> {
    for (let step = 0; step < stepsMax && this.#stale.isAny; step++) {
      this.#stale.dropSome();
      // A walk over the whole index would map all of it.
      releaseMappedPages(this.#file);
      await setImmediate();
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.#root.transactionSync(() => {
      this.#stale.clear();
      for (const database of [this.#chunks, this.#copies, this.#packs, this.#objects]) {
        database.clearSync();
      }
    });
    this.#packCache.clear();
  }

  /** Each look may map further pages of the index; in a large one that would be all of it. */
  #touch(): void {
    if (++this.#touches < TOUCHES_MAX) return;
    this.#touches = 0;
    releaseMappedPages(this.#file);
  }

  #addEntries(packNumber: number, entries: readonly PackEntry[]): void {
    entries.forEach((entry, entryIndex) => {
      this.#touch();
      const location = writeLocation({ ...entry, packNumber, entryIndex });
      const known = this.#chunks.getBinary(entry.id);
      if (known === undefined || !this.pack(readLocation(known, 0).packNumber)) {
        this.#chunks.putSync(entry.id, location);
      } else {
        const copies = this.#copies.getBinary(entry.id) ?? Buffer.alloc(0);
        this.#copies.putSync(entry.id, Buffer.concat([copies, location]));
      }
    });
  }

  #findCopy(id: ChunkId, accepts: AcceptsPack): Location | undefined {
    const copies = this.#copies.getBinary(id) ?? Buffer.alloc(0);
    for (let offset = 0; offset < copies.length; offset += LOCATION_SIZE_BYTES) {
      const location = readLocation(copies, offset);
      if (this.pack(location.packNumber) && accepts(location.packNumber)) return location;
    }
    return undefined;
  }

  #remove(name: string): void {
    this.#root.transactionSync(() => {
      for (const packNumber of this.#objects.get(name) ?? []) {
        this.#packs.removeSync(packNumber);
        this.#packCache.delete(packNumber);
      }
      this.#objects.removeSync(name);
      this.#stale.expect();
    });
  }
}

function openDatabase(folder: string): RootDatabase {
  const options = {
    path: folder,
    maxDbs: 8,
    // Commits are synced: they are few, and a cache that a power cut has torn could crash us.
    overlappingSync: false,
    // Ids are random: what lies beside the page that was asked for is of no use.
    noReadAhead: true,
  };
  return open(options);
}

async function fetchIndexObject(
  store: ObjectStore,
  name: string,
  signal: AbortSignal | undefined,
): Promise<IndexObject> {
  const limit = { sizeBytesMax: INDEX_OBJECT_SIZE_BYTES_MAX, signal };
  return { name, bytes: await store.get(name, limit) };
}

function toStoredPack(object: string, pack: PackDescription): StoredPack {
  return {
    pack: pack.pack.toString('hex'),
    sizeBytes: pack.sizeBytes,
    entryCount: pack.entries.length,
    keyBoxes: Buffer.concat(pack.keyBoxes).toString('base64'),
    object,
  };
}

function toIndexedPack(packNumber: number, stored: StoredPack): IndexedPack {
  const boxes = Buffer.from(stored.keyBoxes, 'base64');
  const keyBoxes: Buffer[] = [];
  for (let offset = 0; offset < boxes.length; offset += KEY_BOX_SIZE_BYTES) {
    keyBoxes.push(boxes.subarray(offset, offset + KEY_BOX_SIZE_BYTES));
  }
  const { sizeBytes, entryCount, object } = stored;
  return {
    packNumber,
    pack: Buffer.from(stored.pack, 'hex'),
    sizeBytes,
    entryCount,
    keyBoxes,
    object,
  };
}
