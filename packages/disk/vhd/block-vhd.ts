/**
 * Writing to dynamic and differencing images ("Implementing a Dynamic Disk", "Write Operation for a
 * Differencing Hard Disk").
 *
 * Invariant: whatever of the writes to the file arrives before a crash, the image opens, and each
 * sector holds what it held at the last `flush` or what was written to it since. Between two flushes
 * only new blocks and data are written, to which nothing leads that is stored. `flush` makes them
 * durable, then writes the bits and table entries that lead to them, then makes these durable. Each
 * of these is right without the others: an entry without bits leads to an empty block.
 */
import { assert, Semaphore } from '@coffer/base';
import { type ByteRange, type Extent, wholeOf, type WritableDisk } from '../disk.ts';
import { BlockAllocator } from './block-allocator.ts';
import { type BlockPart, blockParts } from './block-parts.ts';
import { visibleSizeBytes } from './footer-codec.ts';
import type { VhdImage } from './image.ts';
import { BlockLayer, layerOf } from './layer.ts';
import { LayeredDisk } from './layered-disk.ts';
import { isPresent } from './sector-bitmap.ts';
import { alignUp, SECTOR_BYTES } from './sizes.ts';

/** More new blocks than that are made durable without being asked, to bound the memory of them. */
const UNLISTED_COUNT_MAX = 65_536;
const ZEROES = Buffer.alloc(64 * 1024);

/** Opens an image of blocks for writing, over its parents, the nearest first. */
export async function openBlockVhd(
  image: VhdImage<WritableDisk>,
  parents: readonly VhdImage[],
): Promise<WritableDisk> {
  const disk = new BlockVhd(image, parents);
  await disk.restoreFooter();
  return disk;
}

class BlockVhd implements WritableDisk {
  readonly sizeBytes: number;
  readonly #file: WritableDisk;
  readonly #layer: BlockLayer;
  readonly #allocator: BlockAllocator;
  readonly #disk: LayeredDisk;
  /** One at a time, so that two writes to parts of one sector do not undo each other. */
  readonly #partialSector = new Semaphore(1);
  readonly #commit = new Semaphore(1);
  /** After a failure it is not known what is stored: nothing is said to be durable any more. */
  #failure: { readonly error: unknown } | undefined;

  constructor(image: VhdImage<WritableDisk>, parents: readonly VhdImage[]) {
    this.sizeBytes = visibleSizeBytes(image.footer);
    this.#file = image.file;
    this.#layer = new BlockLayer(image);
    this.#allocator = new BlockAllocator(image, this.#layer);
    this.#disk = new LayeredDisk([this.#layer, ...parents.map(layerOf)], this.sizeBytes);
  }

  async restoreFooter(): Promise<void> {
    await this.#allocator.restoreFooter();
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#disk.read(offset, target);
  }

  extents(range: ByteRange = wholeOf(this)): AsyncIterable<Extent> {
    return this.#disk.extents(range);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    for (const part of this.#partsOf({ offset, length: bytes.length })) {
      const start = part.offset - offset;
      await this.#writePart(part, bytes.subarray(start, start + part.length));
    }
    await this.#commitWhenFull();
  }

  async zero(offset: number, length: number): Promise<void> {
    for (const part of this.#partsOf({ offset, length })) {
      if (this.#readsAsZero(part)) continue;
      for (const piece of this.#sectorPartsOf(part)) {
        if (isWholeSectors(piece)) await this.#zeroSectors(piece);
        else await this.#writePartialSector(piece, ZEROES.subarray(0, piece.length));
      }
      await this.#commitWhenFull();
    }
  }

  async flush(): Promise<void> {
    await this.#commit.run(() => this.#commitNow());
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.#disk.close();
    }
  }

  #partsOf(range: ByteRange): Iterable<BlockPart> {
    assert(range.offset + range.length <= this.sizeBytes, 'nothing is written beyond the disk');
    return blockParts(range, this.#layer.blockSizeBytes);
  }

  async #writePart(part: BlockPart, bytes: Uint8Array): Promise<void> {
    if (this.#readsAsZero(part) && isZero(bytes)) return;
    for (const piece of this.#sectorPartsOf(part)) {
      const start = piece.within - part.within;
      const slice = bytes.subarray(start, start + piece.length);
      if (isWholeSectors(piece)) await this.#writeSectors(piece, slice);
      else await this.#writePartialSector(piece, slice);
    }
  }

  /** True when no image holds something of the block. */
  #readsAsZero({ blockIndex }: BlockPart): boolean {
    return !this.#layer.isDifferencing && this.#layer.table.offsetOf(blockIndex) === undefined;
  }

  async #writeSectors(part: BlockPart, bytes: Uint8Array): Promise<void> {
    const dataOffset = await this.#allocator.dataOffsetOf(part.blockIndex);
    await this.#file.write(dataOffset + part.within, bytes);
    await this.#mark(part);
  }

  async #zeroSectors(part: BlockPart): Promise<void> {
    const dataOffset = await this.#allocator.dataOffsetOf(part.blockIndex);
    await this.#file.zero(dataOffset + part.within, part.length);
    await this.#mark(part);
  }

  /** Completes a sector that the image does not hold yet with what is below. */
  async #writePartialSector(part: BlockPart, bytes: Uint8Array): Promise<void> {
    await this.#partialSector.run(async () => {
      const sector = Math.floor(part.within / SECTOR_BYTES);
      const dataOffset = await this.#allocator.dataOffsetOf(part.blockIndex);
      if (isPresent(await this.#layer.bitmaps.load(part.blockIndex), sector)) {
        await this.#file.write(dataOffset + part.within, bytes);
        return;
      }
      const whole = Buffer.alloc(SECTOR_BYTES);
      const start = part.within % SECTOR_BYTES;
      await this.#disk.read(part.offset - start, whole);
      whole.set(bytes, start);
      await this.#file.write(dataOffset + part.within - start, whole);
      await this.#mark(part);
    });
  }

  async #mark({ blockIndex, within, length }: BlockPart): Promise<void> {
    const end = Math.ceil((within + length) / SECTOR_BYTES);
    await this.#layer.bitmaps.mark(blockIndex, Math.floor(within / SECTOR_BYTES), end);
  }

  /** Whole sectors, and the parts of sectors before and behind them. */
  *#sectorPartsOf(part: BlockPart): Generator<BlockPart> {
    const end = part.within + part.length;
    const first = Math.min(alignUp(part.within, SECTOR_BYTES), end);
    const last = Math.max(first, end - (end % SECTOR_BYTES));
    for (const [from, to] of [
      [part.within, first],
      [first, last],
      [last, end],
    ] as const) {
      if (to === from) continue;
      yield { ...part, within: from, offset: part.offset - part.within + from, length: to - from };
    }
  }

  async #commitWhenFull(): Promise<void> {
    if (!this.#isFull()) return;
    await this.#commit.run(async () => {
      if (this.#isFull()) await this.#commitNow();
    });
  }

  #isFull(): boolean {
    return this.#allocator.unlistedCount >= UNLISTED_COUNT_MAX || this.#layer.bitmaps.isFull;
  }

  async #commitNow(): Promise<void> {
    if (this.#failure) throw this.#failure.error;
    try {
      await this.#commitTaken();
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }

  async #commitTaken(): Promise<void> {
    const { bitmaps, table } = this.#layer;
    // Taken before the data is made durable: what is marked later leads to data that may not be.
    const unlisted = this.#allocator.takeUnlisted();
    const changed = bitmaps.take();
    await this.#file.flush();
    if (unlisted.length === 0 && changed.length === 0) return;
    for (const { blockIndex, bytes } of changed) {
      await this.#file.write(table.offsetOf(blockIndex)!, bytes);
    }
    await this.#allocator.list(unlisted);
    await this.#file.flush();
    bitmaps.settle();
  }
}

function isWholeSectors({ within, length }: BlockPart): boolean {
  return within % SECTOR_BYTES === 0 && length % SECTOR_BYTES === 0;
}

function isZero(bytes: Uint8Array): boolean {
  for (let start = 0; start < bytes.length; start += ZEROES.length) {
    const end = Math.min(bytes.length, start + ZEROES.length);
    if (ZEROES.compare(bytes, start, end, 0, end - start) !== 0) return false;
  }
  return true;
}
