/**
 * The block allocation table (BAT): for each block of the disk, where it is in the file ("Block
 * Allocation Table and Data Blocks"). It is held in memory as it is stored, at most 16 MiB.
 */
import { type Place, damaged } from './damage.ts';
import { SECTOR_BYTES } from './sizes.ts';

export const ENTRY_BYTES = 4;
const UNALLOCATED = 0xffff_ffff;
/** Blocks begin at sectors that an entry can hold, which the sign of "unallocated" is not. */
export const BLOCK_OFFSET_MAX = (UNALLOCATED - 1) * SECTOR_BYTES;

export class BlockTable {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get count(): number {
    return this.#bytes.length / ENTRY_BYTES;
  }

  /** Byte offset in the file at which the block begins, with its bitmap; undefined without one. */
  offsetOf(blockIndex: number): number | undefined {
    const sector = this.#bytes.readUInt32BE(blockIndex * ENTRY_BYTES);
    return sector === UNALLOCATED ? undefined : sector * SECTOR_BYTES;
  }

  set(blockIndex: number, offset: number): void {
    this.#bytes.writeUInt32BE(offset / SECTOR_BYTES, blockIndex * ENTRY_BYTES);
  }

  /** The entries as they are stored. */
  encoded(blockIndex: number, count: number): Buffer {
    return this.#bytes.subarray(blockIndex * ENTRY_BYTES, (blockIndex + count) * ENTRY_BYTES);
  }
}

export function emptyTable(count: number): BlockTable {
  return new BlockTable(Buffer.alloc(count * ENTRY_BYTES, 0xff));
}

/** A part of the file that belongs to no block. */
interface Region {
  readonly structure: string;
  readonly offset: number;
  readonly length: number;
}

export interface TableBounds {
  /** The bitmap and the data of one block. */
  readonly blockBytes: number;
  readonly regions: readonly Region[];
  /** Where the file ends, or the footer begins. */
  readonly endOffset: number;
}

/** Fails with `image-damaged` unless every block has a place in the file for itself. */
export function checkTable(table: BlockTable, bounds: TableBounds, place: Place): void {
  const offsets: number[] = [];
  for (let index = 0; index < table.count; index++) {
    const offset = table.offsetOf(index);
    if (offset === undefined) continue;
    const problem = problemOf(offset, bounds);
    if (problem !== undefined) throw entryDamaged(index, problem, place);
    offsets.push(offset);
  }
  const sorted = Float64Array.from(offsets).sort();
  const second = sorted.findIndex((at, n) => n > 0 && at - sorted[n - 1]! < bounds.blockBytes);
  if (second < 0) return;
  const index = indexOf(table, sorted[second]!);
  throw entryDamaged(index, 'the block overlaps another', place);
}

function problemOf(
  offset: number,
  { blockBytes, regions, endOffset }: TableBounds,
): string | undefined {
  const end = offset + blockBytes;
  if (end > endOffset) return `the block ends at ${end}, beyond the end`;
  const met = regions.find(
    (region) => offset < region.offset + region.length && region.offset < end,
  );
  return met && `the block overlaps the ${met.structure}`;
}

function entryDamaged(index: number, reason: string, place: Place): Error {
  return damaged({ ...place, offset: place.offset + index * ENTRY_BYTES }, reason);
}

function indexOf(table: BlockTable, offset: number): number {
  let index = 0;
  while (table.offsetOf(index) !== offset) index++;
  return index;
}
