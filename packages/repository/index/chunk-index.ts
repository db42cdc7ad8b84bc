/**
 * The local index: which chunk lies where. It is a cache of the `index/` objects in LMDB, read
 * through a memory map, so that its memory does not grow with the repository; it can be thrown away
 * at any time.
 *
 * Invariants: it holds what index objects say and nothing else, and a chunk is found only in packs
 * that are named by an index object that still exists. A chunk that lies in two packs is found as
 * long as one of them is there. Entries of packs that are gone are dropped bit by bit. It is never a
 * reason to fail: one that cannot be read or written is replaced by an empty one in a passing folder,
 * in the midst of the work, and filled again. To who works with it that looks as if another process
 * had emptied it.
 */
import { setImmediate } from 'node:timers/promises';
import {
  AssertionError,
  CofferError,
  isCofferError,
  mapBounded,
  required,
  systemErrorCode,
} from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { ChunkId } from '../chunk/chunk-id.ts';
import {
  decodeSweep,
  isIndexObjectValid,
  readGcState,
  SWEEP_HEAD_SIZE_BYTES,
  type SweepMemory,
  type SweepRecord,
} from '../generations/gc-record.ts';
import type { PackDescription, PackEntry } from '../pack/pack-codec.ts';
import {
  decodeIndexObject,
  INDEX_OBJECT_SIZE_BYTES_MAX,
  isIndexObjectIntact,
} from './index-codec.ts';
import { IndexFolder } from './index-folder.ts';
import { type IndexedPack, IndexTables } from './index-tables.ts';
import type { Location } from './location.ts';
import { PASSING_PARENTS, passingFolderIn } from './passing-folder.ts';

export type { IndexedPack } from './index-tables.ts';

/** Index objects fetched at once. */
const FETCHES_AT_ONCE = 8;
/** Packs whose names and keys are kept at hand. */
const PACKS_CACHED_MAX = 4096;
/** So many steps are made to drop what is gone when the index is synchronized: half a second. */
const STALE_STEPS_MAX = 16;
/**
 * One that replaces another begins to number here, since a number never comes to mean another pack:
 * no repository has 2^31 packs.
 */
const FIRST_PACK_NUMBERS = [1, 2 ** 31, 2 ** 31 + 2 ** 30, 2 ** 31 + 2 ** 30 + 2 ** 29] as const;

/** What the store held when the index was made equal to it. */
export interface Synchronized {
  readonly damaged: readonly CofferError[];
  /**
   * Names of those among the objects whose bytes are not those that the name promises: nobody knows
   * what they have named. One that is damaged in another way was written by no writer, and names
   * nothing.
   */
  readonly unreadable: ReadonlySet<string>;
  /** Names of the index objects that count. */
  readonly objects: ReadonlySet<string>;
}

/** Says of a pack, by its number, whether its chunks count as stored. */
export type AcceptsPack = (packNumber: number) => boolean;

export interface IndexOptions {
  /** Told when the index lies in a passing folder, and why. */
  readonly onPassing?: (folder: string, reason: string) => void;
}

interface KnownSweep {
  readonly name: string;
  readonly head: Buffer;
  readonly sizeBytes: number;
  readonly sweep: SweepRecord;
}

function knownSweep(name: string, bytes: Buffer, sweep: SweepRecord): KnownSweep {
  const head = Buffer.from(bytes.subarray(0, SWEEP_HEAD_SIZE_BYTES));
  return { name, head, sizeBytes: bytes.length, sweep };
}

interface Opened {
  readonly folder: IndexFolder;
  readonly tables: IndexTables;
}

export class ChunkIndex {
  readonly #onPassing: NonNullable<IndexOptions['onPassing']>;
  #opened: Opened;
  /** Somebody may be in the midst of reading them, so they are closed at the end. */
  readonly #replaced: IndexTables[] = [];
  #replacementCount = 0;
  readonly #packCache = new Map<number, IndexedPack | undefined>();
  /** From which it was filled last, and is filled again after it was replaced. */
  #store: ObjectStore | undefined;
  #filling: Promise<unknown> = Promise.resolve();
  #synchronizingCount = 0;
  /** It takes a while to be parsed. */
  #sweep: KnownSweep | undefined;
  readonly #closing = new AbortController();

  private constructor(folder: string | undefined, options: IndexOptions) {
    this.#onPassing = options.onPassing ?? ignore;
    try {
      if (folder === undefined) throw new Error('there is no folder for it');
      this.#opened = openIn(folder, FIRST_PACK_NUMBERS[0]);
    } catch (error) {
      this.#opened = this.#openPassing(error);
    }
  }

  /**
   * Opens the index in `folder`, or makes an empty one, also in the place of a damaged one. Where the
   * folder is undefined or cannot be used, it lasts as long as the process.
   */
  static open(folder: string | undefined, options: IndexOptions = {}): ChunkIndex {
    return new ChunkIndex(folder, options);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#filling;
    await Promise.allSettled(this.#replaced.map((tables) => tables.close()));
    const { folder, tables } = this.#opened;
    try {
      await tables.close();
    } catch {
      folder.condemn();
    }
    folder.leave();
  }

  /** How often it was replaced: afterwards, what was looked for in vain may be found. */
  get replacementCount(): number {
    return this.#replacementCount;
  }

  /** Where a chunk lies, in a pack that `accepts` allows; undefined when it is not stored. */
  find(id: ChunkId, accepts: AcceptsPack = () => true): Location | undefined {
    const isKnown: AcceptsPack = (number) => this.pack(number) !== undefined && accepts(number);
    return this.#read((tables) => tables.find(id, isKnown), undefined);
  }

  /**
   * All places of a chunk, in packs that `accepts` allows. Who has no key cannot tell which of them
   * hold what the id says: whoever can add objects can add a place.
   */
  places(id: ChunkId, accepts: AcceptsPack = () => true): Location[] {
    const isKnown: AcceptsPack = (number) => this.pack(number) !== undefined && accepts(number);
    return this.#read(
      (tables) => [...tables.places(id)].filter(({ packNumber }) => isKnown(packNumber)),
      [],
    );
  }

  pack(packNumber: number): IndexedPack | undefined {
    const cached = this.#packCache.get(packNumber);
    if (cached !== undefined || this.#packCache.has(packNumber)) return cached;
    const pack = this.#read((tables) => tables.pack(packNumber), undefined);
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

  /** All packs. Fails with `gc-superseded` when the index has to be replaced meanwhile. */
  *packs(): Iterable<IndexedPack> {
    yield* this.#walk((tables) => tables.packs());
  }

  /**
   * What is in a pack, by a walk over the whole index: for the rare case that it is damaged. Fails as
   * `packs` does.
   */
  *entriesOf({ packNumber }: IndexedPack): Iterable<PackEntry> {
    for (const { id, location } of this.#walk((tables) => tables.locations())) {
      if (location.packNumber === packNumber) yield { ...location, id };
    }
  }

  get chunkCount(): number {
    return this.#read((tables) => tables.chunkCount, 0);
  }

  /** Of all that is known, also of packs that several objects name. */
  get packCount(): number {
    return this.#read((tables) => tables.packCount, 0);
  }

  hasObject(name: string): boolean {
    return this.#read((tables) => tables.hasObject(name), false);
  }

  /** Remembers the newest sweep of the repository. */
  get sweeps(): SweepMemory {
    return {
      find: (name, head, sizeBytes) => this.#findSweep(name, head, sizeBytes),
      keep: (name, bytes, sweep) => {
        this.#sweep = knownSweep(name, bytes, sweep);
        this.#change((tables) => tables.sweeps.keep(name, bytes));
      },
    };
  }

  #findSweep(name: string, head: Buffer, sizeBytes: number): SweepRecord | undefined {
    if (this.#sweep?.name !== name) this.#sweep = this.#readSweep(name);
    const known = this.#sweep;
    return known?.sizeBytes === sizeBytes && known.head.equals(head) ? known.sweep : undefined;
  }

  #readSweep(name: string): KnownSweep | undefined {
    const stored = this.#read((tables) => tables.sweeps.get(name), undefined);
    try {
      return stored && knownSweep(name, stored, decodeSweep(stored, name));
    } catch (error) {
      if (isCofferError(error)) return undefined;
      throw error;
    }
  }

  /** The record of a point as it was stored under this name; nobody has looked at it. */
  pointRecord(name: string): Buffer | undefined {
    return this.#read((tables) => tables.points.get(name), undefined);
  }

  /** Keeps records of points by the names of their objects. */
  keepPointRecords(records: ReadonlyMap<string, Buffer>): void {
    if (records.size > 0) this.#change(({ points }) => points.keep(records));
  }

  /** Forgets those of objects under the prefix that are not there any more. */
  forgetOtherPointRecords(prefix: string, present: ReadonlySet<string>): void {
    this.#change(({ points }) => points.forgetOthers(prefix, present));
  }

  /** Adds what one index object says, in steps that others can work between. */
  async add(name: string, packs: readonly PackDescription[]): Promise<void> {
    for (;;) {
      // A number that others have asked for is known from now on.
      this.#packCache.clear();
      if (this.#change((tables) => tables.addNext(name, packs))) return;
      await setImmediate();
    }
  }

  /**
   * Makes the index equal to the `index/` objects of the store that count. Damaged objects are left
   * out and returned, so that the caller decides what that means.
   */
  async synchronize(
    store: ObjectStore,
    signal?: AbortSignal,
    { staleStepsMax = STALE_STEPS_MAX } = {},
  ): Promise<Synchronized> {
    this.#store = store;
    this.#synchronizingCount++;
    try {
      for (;;) {
        const before = this.#replacementCount;
        const synchronized = await this.#synchronizeOnce(store, signal);
        await this.dropStale(staleStepsMax);
        if (before === this.#replacementCount) return synchronized;
      }
    } finally {
      this.#synchronizingCount--;
    }
  }

  /** Drops entries of packs that are gone, in steps that others can work between. */
  async dropStale(stepsMax = Number.POSITIVE_INFINITY): Promise<void> {
    for (let step = 0; step < stepsMax; step++) {
      const isLeft = this.#change((tables) => {
        if (!tables.stale.isAny) return false;
        tables.stale.dropSome();
        tables.releasePages();
        return true;
      });
      if (!isLeft) return;
      await setImmediate();
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.#change((tables) => tables.clear());
    this.#packCache.clear();
    this.#sweep = undefined;
  }

  /** Replaces an index that has turned out to be wrong, and fills it from the store. */
  async renew(store: ObjectStore, signal?: AbortSignal): Promise<void> {
    this.#replace(new Error('it is damaged'));
    await this.synchronize(store, signal);
  }

  async #synchronizeOnce(
    store: ObjectStore,
    signal: AbortSignal | undefined,
  ): Promise<Synchronized> {
    // Another process with the same cache may have changed it meanwhile.
    this.#packCache.clear();
    const damaged: CofferError[] = [];
    const unreadable = new Set<string>();
    const state = await readGcState(store, this.sweeps);
    // Before the store is asked: what another process adds from now on may be newer than its answer.
    const known = this.#read((tables) => tables.objectNames(), []);
    const present = new Set<string>();
    for await (const { name } of store.list('index/', { signal })) {
      if (isIndexObjectValid(name, state)) present.add(name);
    }
    const missing = [...present].filter((name) => !this.hasObject(name));
    await mapBounded(missing, FETCHES_AT_ONCE, async (name) => {
      const { packs, damage, isIntact } = await readIndexObject(store, name, signal);
      if (packs) await this.add(name, packs);
      if (damage) damaged.push(damage);
      if (damage && !isIntact) unreadable.add(name);
    });
    // What replaces them is there by now, so that nobody who reads meanwhile misses a chunk.
    for (const name of known) if (!present.has(name)) this.#remove(name);
    return { damaged, unreadable, objects: present };
  }

  #remove(name: string): void {
    for (const packNumber of this.#change((tables) => tables.remove(name))) {
      this.#packCache.delete(packNumber);
    }
  }

  /** What the index answers; where it cannot, it is replaced, and the answer is that of an empty one. */
  #read<T>(ask: (tables: IndexTables) => T, ofEmpty: T): T {
    try {
      return ask(this.#opened.tables);
    } catch (error) {
      this.#replaceAndFill(error);
      return ofEmpty;
    }
  }

  *#walk<T>(over: (tables: IndexTables) => Iterable<T>): Iterable<T> {
    try {
      yield* over(this.#opened.tables);
    } catch (error) {
      this.#replaceAndFill(error);
      const reason = 'the local index was damaged, and is made anew';
      throw new CofferError('gc-superseded', { reason }, error);
    }
  }

  /** Changes the index, or the one that replaces it when that fails. */
  #change<T>(change: (tables: IndexTables) => T): T {
    for (;;) {
      try {
        return change(this.#opened.tables);
      } catch (error) {
        this.#replaceAndFill(error);
      }
    }
  }

  /** What was there comes back bit by bit, while the work goes on. */
  #replaceAndFill(error: unknown): void {
    this.#replace(error);
    const store = this.#store;
    // Who synchronizes it begins again by itself.
    if (!store || this.#synchronizingCount > 0) return;
    const { signal } = this.#closing;
    const filled = this.synchronize(store, signal).then(ignore, ignore);
    this.#filling = Promise.all([this.#filling, filled]);
  }

  /** Fails with the error when it is none of the index. */
  #replace(error: unknown): void {
    if (isCofferError(error) || error instanceof AssertionError) throw error;
    this.#opened.folder.giveUp(error);
    this.#replaced.push(this.#opened.tables);
    this.#opened = this.#openPassing(error);
    this.#packCache.clear();
  }

  /** Fails with `cache-unusable` when that does not work either. */
  #openPassing(cause: unknown): Opened {
    const reason = systemErrorCode(cause) ?? (cause instanceof Error ? cause.message : undefined);
    const firstPackNumber = FIRST_PACK_NUMBERS[++this.#replacementCount];
    if (firstPackNumber === undefined) throw new CofferError('cache-unusable', { reason }, cause);
    // The last one was perhaps in the first of them, and that is full.
    const turn = this.#replacementCount % PASSING_PARENTS.length;
    const parents = turn === 1 ? PASSING_PARENTS : PASSING_PARENTS.toReversed();
    for (const parent of parents) {
      try {
        const opened = openIn(passingFolderIn(parent), firstPackNumber);
        this.#onPassing(opened.folder.path, reason ?? 'unknown');
        return opened;
      } catch {
        // The next one may do.
      }
    }
    throw new CofferError('cache-unusable', { reason }, cause);
  }
}

function openIn(path: string, firstPackNumber: number): Opened {
  const folder = IndexFolder.enter(path);
  try {
    return { folder, tables: new IndexTables(folder.path, firstPackNumber) };
  } catch (error) {
    folder.giveUp(error);
    throw error;
  }
}

/** Who needs what could not be filled in fails by itself, or looks again. */
function ignore(): void {}

interface ReadObject {
  /** Undefined for an object that is gone, or damaged. */
  readonly packs?: readonly PackDescription[];
  readonly damage?: CofferError;
  /** Whether the bytes are those that the name promises. */
  readonly isIntact?: boolean;
}

async function readIndexObject(
  store: ObjectStore,
  name: string,
  signal: AbortSignal | undefined,
): Promise<ReadObject> {
  let isIntact = false;
  try {
    const bytes = await store.get(name, { sizeBytesMax: INDEX_OBJECT_SIZE_BYTES_MAX, signal });
    isIntact = isIndexObjectIntact({ name, bytes });
    return { packs: decodeIndexObject({ name, bytes }), isIntact };
  } catch (error) {
    // A garbage collection may replace index objects while we read them.
    if (isCofferError(error, 'object-not-found')) return {};
    if (!isCofferError(error, 'object-damaged')) throw error;
    return { damage: error, isIntact };
  }
}
