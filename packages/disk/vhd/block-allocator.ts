/**
 * Gives blocks of an image a place in its file, behind all that is there. The table in memory knows
 * a new block at once; the stored table is told by `list`, when the block is durable.
 *
 * Invariant: the file always ends with a footer, as far as its writes arrive in order. The new footer
 * is written first, behind the new block; then the bitmap, which lies where the old footer was. Where
 * they arrive in another order and the machine stops, the copy at the beginning of the file is used.
 *
 * Invariant: a new block reads as zeroes. Its data begins behind the former end of the file, where
 * nothing was written since; space that a crash left behind is not used again.
 */
import { required, Semaphore } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { BLOCK_OFFSET_MAX, ENTRY_BYTES } from './block-table.ts';
import { unsupported } from './damage.ts';
import { FOOTER_BYTES } from './footer-codec.ts';
import { HEADER_BYTES } from './header-codec.ts';
import type { VhdImage } from './image.ts';
import type { BlockLayer } from './layer.ts';
import { bitmapBytesOf } from './sector-bitmap.ts';
import { alignUp, SECTOR_BYTES } from './sizes.ts';

/** So that what a file system writes to the disk meets whole pages of the file. */
const DATA_ALIGNMENT_BYTES = 4096;

/** True when entries of a table can tell where all blocks of such a disk are. */
export function canHoldAll(sizeBytes: number, blockSizeBytes: number): boolean {
  const stride = alignUp(blockSizeBytes + bitmapBytesOf(blockSizeBytes), DATA_ALIGNMENT_BYTES);
  const count = Math.ceil(sizeBytes / blockSizeBytes);
  return FOOTER_BYTES + HEADER_BYTES + count * (ENTRY_BYTES + stride) <= BLOCK_OFFSET_MAX;
}

export class BlockAllocator {
  readonly #image: VhdImage<WritableDisk>;
  readonly #layer: BlockLayer;
  readonly #tableOffset: number;
  readonly #running = new Map<number, Promise<number>>();
  /** One after the other: each begins where the footer of the one before is. */
  readonly #turn = new Semaphore(1);
  #endOffset: number;
  #unlisted = new Set<number>();

  constructor(image: VhdImage<WritableDisk>, layer: BlockLayer) {
    this.#image = image;
    this.#layer = layer;
    this.#tableOffset = required(
      image.blocks,
      'a layer of blocks is of such an image',
    ).header.tableOffset;
    this.#endOffset = alignUp(image.footerOffset ?? image.file.sizeBytes, SECTOR_BYTES);
  }

  get unlistedCount(): number {
    return this.#unlisted.size;
  }

  /** Writes a footer where the file ends without one. */
  async restoreFooter(): Promise<void> {
    const { file, footerOffset, footerBytes } = this.#image;
    if (footerOffset === undefined) await file.write(this.#endOffset, footerBytes);
  }

  /** Where the data of the block is, which is made if it is not there. */
  async dataOffsetOf(blockIndex: number): Promise<number> {
    const running = this.#running.get(blockIndex);
    if (running) return await running;
    const dataOffset = this.#layer.dataOffsetOf(blockIndex);
    if (dataOffset !== undefined) return dataOffset;
    const allocation = this.#turn.run(() => this.#allocate(blockIndex));
    this.#running.set(blockIndex, allocation);
    try {
      return await allocation;
    } finally {
      this.#running.delete(blockIndex);
    }
  }

  /** The blocks that are in the file, but not in the stored table. */
  takeUnlisted(): number[] {
    const taken = [...this.#unlisted].sort((a, b) => a - b);
    this.#unlisted = new Set();
    return taken;
  }

  /** Writes the table's entries of these blocks, and no others: others may not be durable. */
  async list(blockIndexes: readonly number[]): Promise<void> {
    const { table } = this.#layer;
    for (const { first, count } of runsOf(blockIndexes)) {
      const offset = this.#tableOffset + first * ENTRY_BYTES;
      await this.#image.file.write(offset, table.encoded(first, count));
    }
  }

  async #allocate(blockIndex: number): Promise<number> {
    const { file, footerBytes } = this.#image;
    const { bitmaps, blockSizeBytes, isDifferencing, table } = this.#layer;
    const dataOffset = alignUp(this.#endOffset + bitmaps.bitmapBytes, DATA_ALIGNMENT_BYTES);
    const offset = dataOffset - bitmaps.bitmapBytes;
    if (offset > BLOCK_OFFSET_MAX) throw this.#tableFull(blockIndex);
    const endOffset = dataOffset + blockSizeBytes;
    await file.write(endOffset, footerBytes);
    this.#endOffset = endOffset;
    // All of a dynamic block is in the file; of a differencing one, what will be written.
    const bitmap = Buffer.alloc(bitmaps.bitmapBytes, isDifferencing ? 0 : 0xff);
    await file.write(offset, bitmap);
    bitmaps.keep(blockIndex, bitmap);
    table.set(blockIndex, offset);
    this.#unlisted.add(blockIndex);
    return dataOffset;
  }

  #tableFull(blockIndex: number): Error {
    const offset = this.#tableOffset + blockIndex * ENTRY_BYTES;
    const place = { path: this.#image.path, structure: 'block allocation table', offset };
    return unsupported(place, 'the file has grown beyond what an entry can tell');
  }
}

/** Runs of numbers that follow each other. */
function runsOf(sorted: readonly number[]): { first: number; count: number }[] {
  const runs: { first: number; count: number }[] = [];
  for (const value of sorted) {
    const last = runs.at(-1);
    if (last && last.first + last.count === value) last.count++;
    else runs.push({ first: value, count: 1 });
  }
  return runs;
}
