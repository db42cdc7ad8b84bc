/**
 * Where the blocks of one image are: entries of the BAT and bits of the sector bitmaps, by the number
 * of the payload block.
 */
import {
  BAT_ENTRY_BYTES,
  type BatEntry,
  type BatLayout,
  bitmapEntryIndex,
  BITMAP,
  decodeBatEntry,
  encodeBatEntry,
  payloadEntryIndex,
} from './bat-codec.ts';
import type { VhdxImage } from './image.ts';
import { MetadataSectors } from './metadata-sectors.ts';
import { markPresent } from './sector-bits.ts';
import { LOG_SECTOR_BYTES } from './sizes.ts';

const BITS_PER_LOG_SECTOR = LOG_SECTOR_BYTES * 8;

/** A part of a block's bitmap, as far as it is in one metadata sector. */
export interface BitmapPart {
  /** Bit 0 is that of `firstSector`. */
  readonly bits: Buffer;
  /** Sectors of the disk, counted from the beginning of the block. */
  readonly firstSector: number;
  readonly endSector: number;
}

export class BlockMap {
  readonly layout: BatLayout;
  readonly sectors: MetadataSectors;
  readonly sectorsPerBlock: number;
  readonly #batOffset: number;

  constructor({ file, layout, regions, metadata }: VhdxImage) {
    this.layout = layout;
    this.sectors = new MetadataSectors(file);
    const { blockSizeBytes, logicalSectorBytes } = metadata.parameters;
    this.sectorsPerBlock = blockSizeBytes / logicalSectorBytes;
    this.#batOffset = regions.bat.offset;
  }

  /** The entry of a payload block, if it is in memory. */
  cachedEntry(blockIndex: number): BatEntry | undefined {
    const offset = this.#entryOffset(payloadEntryIndex(this.layout, blockIndex));
    const within = offset % LOG_SECTOR_BYTES;
    const sector = this.sectors.cached(offset - within);
    return sector && decodeBatEntry(sector, within);
  }

  async entry(blockIndex: number): Promise<BatEntry> {
    return await this.#entryAt(payloadEntryIndex(this.layout, blockIndex));
  }

  async setEntry(blockIndex: number, entry: BatEntry): Promise<void> {
    await this.#setEntryAt(payloadEntryIndex(this.layout, blockIndex), entry);
  }

  /** The sector bitmap block of the chunk that the payload block is in. */
  async bitmapEntry(blockIndex: number): Promise<BatEntry> {
    return await this.#entryAt(bitmapEntryIndex(this.layout, blockIndex));
  }

  async setBitmapEntry(blockIndex: number, offset: number): Promise<void> {
    const index = bitmapEntryIndex(this.layout, blockIndex);
    await this.#setEntryAt(index, { state: BITMAP.present, offset });
  }

  /** The bits of the sectors from `firstSector` to before `endSector` of a block. */
  async *bitmap(
    blockIndex: number,
    firstSector: number,
    endSector: number,
  ): AsyncGenerator<BitmapPart> {
    const start = await this.#bitmapStart(blockIndex);
    for (const part of this.#bitmapParts(firstSector, endSector, start)) {
      const sector = await this.sectors.load(part.fileOffset - part.within);
      const { within, length } = part;
      yield { ...part, bits: sector.subarray(within, within + length) };
    }
  }

  /** Says that no sector of the block is in this image. Its bitmap block is there. */
  async clearBitmap(blockIndex: number): Promise<void> {
    const start = await this.#bitmapStart(blockIndex);
    for (const { fileOffset, length } of this.#bitmapParts(0, this.sectorsPerBlock, start)) {
      await this.sectors.edit(fileOffset, length, (bits) => bits.fill(0));
    }
  }

  /** Says that the sectors from `firstSector` to before `endSector` of a block are in this image. */
  async markPresent(blockIndex: number, firstSector: number, endSector: number): Promise<void> {
    const start = await this.#bitmapStart(blockIndex);
    for (const part of this.#bitmapParts(firstSector, endSector, start)) {
      const first = Math.max(firstSector, part.firstSector) - part.firstSector;
      const end = Math.min(endSector, part.endSector) - part.firstSector;
      await this.sectors.edit(part.fileOffset, part.length, (bits) =>
        markPresent(bits, first, end),
      );
    }
  }

  /** True when a metadata sector of the BAT begins at the offset in the file. */
  isInTable(fileOffset: number): boolean {
    const end = this.#entryOffset(this.layout.entryCount);
    return fileOffset >= this.#batOffset && fileOffset < end;
  }

  #entryOffset(index: number): number {
    return this.#batOffset + index * BAT_ENTRY_BYTES;
  }

  async #entryAt(index: number): Promise<BatEntry> {
    const offset = this.#entryOffset(index);
    const within = offset % LOG_SECTOR_BYTES;
    return decodeBatEntry(await this.sectors.load(offset - within), within);
  }

  async #setEntryAt(index: number, entry: BatEntry): Promise<void> {
    await this.sectors.edit(this.#entryOffset(index), BAT_ENTRY_BYTES, (bytes) =>
      encodeBatEntry(entry, bytes, 0),
    );
  }

  /** Where the bits of the block begin in the file. */
  async #bitmapStart(blockIndex: number): Promise<number> {
    const { offset } = await this.bitmapEntry(blockIndex);
    return offset + ((blockIndex % this.layout.chunkRatio) * this.sectorsPerBlock) / 8;
  }

  /** Cut at metadata sectors, and whole bytes. A block has at least 32 bytes of bits. */
  *#bitmapParts(
    firstSector: number,
    endSector: number,
    start: number,
  ): Generator<Omit<BitmapPart, 'bits'> & { fileOffset: number; within: number; length: number }> {
    const bits = Math.min(BITS_PER_LOG_SECTOR, this.sectorsPerBlock);
    for (let first = firstSector - (firstSector % bits); first < endSector; first += bits) {
      const fileOffset = start + first / 8;
      const within = fileOffset % LOG_SECTOR_BYTES;
      yield { firstSector: first, endSector: first + bits, fileOffset, within, length: bits / 8 };
    }
  }
}
