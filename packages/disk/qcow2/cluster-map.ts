/**
 * Where the clusters of a new image lie in its file. Places are given out in order and never taken
 * back, so that each cluster of the file before the end is referred to exactly once.
 *
 * Second-level tables are kept as they are in the file, and only a few of them, however large the
 * disk is: one that was not used for long is written to its place, and read when it is needed again.
 */
import { assert } from '@coffer/base';
import type { ByteRange, WritableDisk } from '../disk.ts';
import {
  CLUSTER_BYTES,
  ENTRIES_PER_TABLE,
  ENTRY_BYTES,
  readEntry,
  writeEntry,
} from './header-codec.ts';

/** Each describes 512 MiB; a restore moves through a disk more or less in order. */
const TABLES_KEPT_MAX = 64;
const TABLE_RANGE_BYTES = ENTRIES_PER_TABLE * CLUSTER_BYTES;

/** A range of the disk, and where it lies in the file; undefined when it was never written. */
export interface MappedRange extends ByteRange {
  readonly fileOffset: number | undefined;
}

interface Table {
  readonly fileOffset: number;
  readonly entries: Buffer;
  isChanged: boolean;
}

export class ClusterMap {
  readonly #file: WritableDisk;
  readonly firstLevel: Buffer;
  /** In the order of use: a map keeps the order of insertion. */
  readonly #tables = new Map<number, Table>();
  #end: number;

  /** Places are given out from `startOffset` on. */
  constructor(file: WritableDisk, sizeBytes: number, startOffset: number) {
    this.#file = file;
    this.#end = startOffset;
    const tableCount = Math.ceil(sizeBytes / TABLE_RANGE_BYTES);
    this.firstLevel = Buffer.alloc(tableCount * ENTRY_BYTES);
  }

  /** The end of what was given out, in bytes. */
  get end(): number {
    return this.#end;
  }

  /** A place for a cluster that is none of the disk. */
  take(): number {
    this.#end += CLUSTER_BYTES;
    return this.#end - CLUSTER_BYTES;
  }

  /** Where a range is, in parts that are as long as possible. One call at a time. */
  async find(range: ByteRange): Promise<MappedRange[]> {
    return await this.#map(range, () => undefined);
  }

  /** The same, after all of it has been given a place. One call at a time. */
  async allocate(range: ByteRange): Promise<MappedRange[]> {
    return await this.#map(range, () => this.take());
  }

  /** Writes all tables that were changed to their places. One call at a time. */
  async write(): Promise<void> {
    for (const table of this.#tables.values()) await this.#write(table);
  }

  async #map(
    { offset, length }: ByteRange,
    placeOfNew: () => number | undefined,
  ): Promise<MappedRange[]> {
    const ranges: MappedRange[] = [];
    const end = offset + length;
    for (let at = offset; at < end;) {
      const tableIndex = Math.floor(at / TABLE_RANGE_BYTES);
      const table = await this.#table(tableIndex, placeOfNew);
      const unit = table ? CLUSTER_BYTES : TABLE_RANGE_BYTES;
      const next = Math.min(end, (Math.floor(at / unit) + 1) * unit);
      const place = table && placeIn(table, at, placeOfNew);
      const fileOffset = place === undefined ? undefined : place + (at % CLUSTER_BYTES);
      append(ranges, { offset: at, length: next - at, fileOffset });
      at = next;
    }
    return ranges;
  }

  async #table(
    tableIndex: number,
    placeOfNew: () => number | undefined,
  ): Promise<Table | undefined> {
    const kept = this.#tables.get(tableIndex);
    if (kept) {
      this.#tables.delete(tableIndex);
      this.#tables.set(tableIndex, kept);
      return kept;
    }
    const known = readEntry(this.firstLevel, tableIndex);
    const fileOffset = known === 0 ? placeOfNew() : known;
    if (fileOffset === undefined) return undefined;
    const entries = Buffer.alloc(CLUSTER_BYTES);
    if (known === 0) writeEntry(this.firstLevel, tableIndex, fileOffset);
    else await this.#file.read(fileOffset, entries);
    const table = { fileOffset, entries, isChanged: known === 0 };
    await this.#makeRoom();
    this.#tables.set(tableIndex, table);
    return table;
  }

  async #makeRoom(): Promise<void> {
    if (this.#tables.size < TABLES_KEPT_MAX) return;
    const [oldestIndex, oldest] = this.#tables.entries().next().value!;
    await this.#write(oldest);
    this.#tables.delete(oldestIndex);
  }

  async #write(table: Table): Promise<void> {
    if (!table.isChanged) return;
    await this.#file.write(table.fileOffset, table.entries);
    table.isChanged = false;
  }
}

function placeIn(
  table: Table,
  offset: number,
  placeOfNew: () => number | undefined,
): number | undefined {
  const index = Math.floor(offset / CLUSTER_BYTES) % ENTRIES_PER_TABLE;
  const known = readEntry(table.entries, index);
  if (known !== 0) return known;
  const place = placeOfNew();
  if (place === undefined) return undefined;
  writeEntry(table.entries, index, place);
  table.isChanged = true;
  return place;
}

/** Joins it with the last one where the two are one in the file, too. */
function append(ranges: MappedRange[], range: MappedRange): void {
  const last = ranges.at(-1);
  assert(!last || last.offset + last.length === range.offset, 'ranges follow each other');
  const isOneMore =
    last !== undefined &&
    (last.fileOffset === undefined
      ? range.fileOffset === undefined
      : last.fileOffset + last.length === range.fileOffset);
  if (isOneMore) ranges[ranges.length - 1] = { ...last, length: last.length + range.length };
  else ranges.push(range);
}
