/**
 * What the local index holds, as tables of LMDB. All failures here, of LMDB, of the file system below
 * it, or of what is found there, mean one thing to who calls: this index is of no use any more.
 *
 * Numbers of packs are local, and never used twice, not even after the pack of the highest number was
 * removed: locations that name a removed pack stay, and must not come to mean another one. So the
 * next number is stored.
 */
import { realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { releaseMappedPages } from '@coffer/base/libc.ts';
import { type Database, open, type RootDatabase } from 'lmdb';
import * as v from 'valibot';
import { KEY_BOX_SIZE_BYTES, type PackDescription, type PackEntry } from '../pack/pack-codec.ts';
import { count, hexOf } from '../record.ts';
import { DATA_FILE } from './index-folder.ts';
import { IndexDamage } from './index-damage.ts';
import { CHUNK_ID_SIZE_BYTES } from '../chunk/chunk-id.ts';
import { copiesOf, copyKey } from './copy-key.ts';
import { type Location, readLocation, writeLocation } from './location.ts';
import { PointRecords } from './point-records.ts';
import { StaleEntries } from './stale-entries.ts';
import { SweepRecords } from './sweep-records.ts';

/** After so many looks the mapped pages, 32 MiB by then, are given back: one look maps 64 KiB. */
const TOUCHES_MAX = 512;
/** An index up to this size stays mapped: it would be mapped again at once. */
const STAYS_MAPPED_BYTES_MAX = 128 * 1024 * 1024;
/** Under which the number of the next pack is stored. */
const NEXT_PACK_NUMBER = 'nextPackNumber';
/** Entries added in one transaction, which takes 0.05 s, unless one pack has more. */
const ENTRIES_AT_ONCE = 4096;
const StoredPack = v.object({
  pack: hexOf(32),
  sizeBytes: count,
  entryCount: count,
  keyBoxes: v.pipe(v.string(), v.base64()),
  object: v.string(),
});
type StoredPack = v.InferOutput<typeof StoredPack>;

const PackNumbers = v.array(count);

export interface IndexedPack {
  readonly packNumber: number;
  readonly pack: Buffer;
  readonly sizeBytes: number;
  readonly entryCount: number;
  readonly keyBoxes: readonly Buffer[];
  /** The index object that names it. */
  readonly object: string;
}

export class IndexTables {
  readonly stale: StaleEntries;
  readonly points: PointRecords;
  readonly sweeps: SweepRecords;
  readonly #root: RootDatabase;
  readonly #file: string;
  #touches = 0;
  /** Chunk id to its location. */
  readonly #chunks: Database<Buffer, Buffer>;
  /** Chunk id and number of a pack to a further location of the chunk (`copy-key.ts`). */
  readonly #copies: Database<Buffer, Buffer>;
  readonly #packs: Database<unknown, number>;
  /** Loaded index objects, with the numbers of their packs. */
  readonly #objects: Database<unknown, string>;
  /** The same for index objects that somebody is adding, or has begun to. */
  readonly #begun: Database<unknown, string>;
  readonly #counters: Database<number, string>;

  constructor(folder: string, firstPackNumber: number) {
    const root = openDatabase(folder);
    this.#root = root;
    this.#file = realpathSync(join(folder, DATA_FILE));
    this.#chunks = root.openDB({ name: 'chunks', keyEncoding: 'binary', encoding: 'binary' });
    this.#copies = root.openDB({ name: 'copies', keyEncoding: 'binary', encoding: 'binary' });
    this.#packs = root.openDB({ name: 'packs', keyEncoding: 'uint32', encoding: 'json' });
    this.#objects = root.openDB({ name: 'objects', encoding: 'json' });
    this.#begun = root.openDB({ name: 'begun', encoding: 'json' });
    this.#counters = root.openDB({ name: 'counters', encoding: 'json' });
    this.stale = new StaleEntries(root, this.#chunks, this.#copies, this.#packs);
    this.points = new PointRecords(root);
    this.sweeps = new SweepRecords(root);
    if (this.#counters.get(NEXT_PACK_NUMBER) === undefined) {
      this.#counters.putSync(NEXT_PACK_NUMBER, firstPackNumber);
    }
  }

  async close(): Promise<void> {
    await this.#root.close();
  }

  get chunkCount(): number {
    return (this.#chunks.getStats() as { entryCount: number }).entryCount;
  }

  get packCount(): number {
    return (this.#packs.getStats() as { entryCount: number }).entryCount;
  }

  /** Where a chunk lies, in a pack that `accepts` allows. */
  find(id: Buffer, accepts: (packNumber: number) => boolean): Location | undefined {
    this.#touch();
    const bytes = this.#chunks.getBinaryFast(id);
    if (bytes === undefined) return undefined;
    const first = readLocation(bytes, 0);
    if (accepts(first.packNumber)) return first;
    for (const place of this.#copiesOf(id)) if (accepts(place.packNumber)) return place;
    return undefined;
  }

  /** All places of a chunk, also in packs that are gone. */
  *places(id: Buffer): Iterable<Location> {
    this.#touch();
    const bytes = this.#chunks.getBinary(id);
    if (bytes === undefined) return;
    yield readLocation(bytes, 0);
    yield* this.#copiesOf(id);
  }

  *#copiesOf(id: Buffer): Iterable<Location> {
    for (const { value } of this.#copies.getRange(copiesOf(id))) yield readLocation(value, 0);
  }

  pack(packNumber: number): IndexedPack | undefined {
    const stored = this.#packs.get(packNumber);
    return stored === undefined ? undefined : toIndexedPack(packNumber, stored);
  }

  *packs(): Iterable<IndexedPack> {
    for (const { key, value } of this.#packs.getRange()) yield toIndexedPack(key, value);
  }

  /** All locations, also of packs that are gone. */
  *locations(): Iterable<{ readonly id: Buffer; readonly location: Location }> {
    for (const table of [this.#chunks, this.#copies]) {
      for (const { key, value } of table.getRange()) {
        yield {
          id: Buffer.from(key.subarray(0, CHUNK_ID_SIZE_BYTES)),
          location: readLocation(value, 0),
        };
      }
    }
  }

  hasObject(name: string): boolean {
    return this.#objects.doesExist(name);
  }

  /** Names of index objects of which something is here. */
  objectNames(): string[] {
    return [...this.#objects.getKeys(), ...this.#begun.getKeys()];
  }

  /**
   * Adds the next packs of an index object, as many as are added at once; true when all are there.
   * Others that add it at the same time go on where this one is, and so does who comes after one that
   * was killed.
   */
  addNext(name: string, packs: readonly PackDescription[]): boolean {
    return this.#root.transactionSync(() => {
      if (this.#objects.doesExist(name)) return true;
      const numbers = [...(this.#numbersOf(this.#begun, name) ?? [])];
      let packNumber = this.#counters.get(NEXT_PACK_NUMBER)!;
      for (let added = 0; numbers.length < packs.length && added < ENTRIES_AT_ONCE;) {
        const pack = packs[numbers.length]!;
        this.#packs.putSync(packNumber, toStoredPack(name, pack));
        this.#addEntries(packNumber, pack.entries);
        added += pack.entries.length + 1;
        numbers.push(packNumber++);
      }
      this.#counters.putSync(NEXT_PACK_NUMBER, packNumber);
      const isWhole = numbers.length === packs.length;
      (isWhole ? this.#objects : this.#begun).putSync(name, numbers);
      if (isWhole) this.#begun.removeSync(name);
      return isWhole;
    });
  }

  /** Takes an index object out; returns the numbers of its packs. */
  remove(name: string): readonly number[] {
    return this.#root.transactionSync(() => {
      const numbers =
        this.#numbersOf(this.#objects, name) ?? this.#numbersOf(this.#begun, name) ?? [];
      for (const packNumber of numbers) this.#packs.removeSync(packNumber);
      this.#objects.removeSync(name);
      this.#begun.removeSync(name);
      this.stale.expect();
      return numbers;
    });
  }

  clear(): void {
    this.#root.transactionSync(() => {
      this.stale.clear();
      this.points.clear();
      this.sweeps.clear();
      const tables = [this.#chunks, this.#copies, this.#packs, this.#objects, this.#begun];
      for (const table of tables) table.clearSync();
    });
  }

  /** A walk over the whole index would map all of it. */
  releasePages(): void {
    releaseMappedPages(this.#file);
  }

  /** Each look may map further pages of the index; in a large one that would be all of it. */
  #touch(): void {
    if (++this.#touches < TOUCHES_MAX) return;
    this.#touches = 0;
    if (statSync(this.#file).size > STAYS_MAPPED_BYTES_MAX) this.releasePages();
  }

  #addEntries(packNumber: number, entries: readonly PackEntry[]): void {
    entries.forEach((entry, entryIndex) => {
      this.#touch();
      const location = writeLocation({ ...entry, packNumber, entryIndex });
      const known = this.#chunks.getBinary(entry.id);
      if (known === undefined || !this.#packs.doesExist(readLocation(known, 0).packNumber)) {
        this.#chunks.putSync(entry.id, location);
      } else {
        this.#copies.putSync(copyKey(entry.id, packNumber), location);
      }
    });
  }

  #numbersOf(table: Database<unknown, string>, name: string): readonly number[] | undefined {
    const value = table.get(name);
    return value === undefined ? undefined : checked(PackNumbers, value);
  }
}

function openDatabase(folder: string): RootDatabase {
  const options = {
    path: folder,
    maxDbs: 12,
    permissionsMode: 0o600,
    // Commits are synced: they are few, and a cache that a power cut has torn could crash us.
    overlappingSync: false,
    // Ids are random: what lies beside the page that was asked for is of no use.
    noReadAhead: true,
  };
  return open(options);
}

function checked<T extends v.GenericSchema>(schema: T, value: unknown): v.InferOutput<T> {
  const { success, output } = v.safeParse(schema, value);
  if (!success) throw new IndexDamage('a value is not of its form');
  return output;
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

function toIndexedPack(packNumber: number, value: unknown): IndexedPack {
  const { pack, sizeBytes, entryCount, keyBoxes: text, object } = checked(StoredPack, value);
  const boxes = Buffer.from(text, 'base64');
  if (boxes.length % KEY_BOX_SIZE_BYTES !== 0) throw new IndexDamage('a key box is cut short');
  const keyBoxes: Buffer[] = [];
  for (let offset = 0; offset < boxes.length; offset += KEY_BOX_SIZE_BYTES) {
    keyBoxes.push(boxes.subarray(offset, offset + KEY_BOX_SIZE_BYTES));
  }
  return { packNumber, pack: Buffer.from(pack, 'hex'), sizeBytes, entryCount, keyBoxes, object };
}
