/**
 * Writes to the blocks of an image, which get a place in the file when they are written first.
 *
 * Invariant: what the BAT and the sector bitmaps say of a block is changed, in memory too, only when
 * the data that they then refer to was written. So a commit may take them at any time. The order is:
 * sector bitmap block, bits, payload entry; a commit keeps to it.
 */
import { Semaphore, TaskQueue } from '@coffer/base';
import type { ByteRange, Disk } from '../disk.ts';
import { type BatEntry, BITMAP, PAYLOAD } from './bat-codec.ts';
import type { BlockAllocator } from './block-allocator.ts';
import { BlockLocks } from './block-locks.ts';
import { type BlockPart, blockParts } from './block-parts.ts';
import type { ImageFile } from './image-file.ts';
import type { Layer } from './layer.ts';
import { BITMAP_BLOCK_BYTES } from './sizes.ts';

const WRITES_AT_ONCE = 8;

/** A part of the disk, where it goes in the file, and what has to be said when it is there. */
interface Placed extends ByteRange {
  readonly fileOffset: number;
  readonly settle?: () => Promise<void>;
}

export class BlockWriter {
  readonly #allocator: BlockAllocator;
  readonly #file: ImageFile;
  readonly #layer: Layer;
  readonly #disk: Disk;
  readonly #locks = new BlockLocks();
  readonly #bitmapAllocation = new Semaphore(1);

  /** `layer` is the image, `disk` the image with its parents. */
  constructor(file: ImageFile, layer: Layer, disk: Disk, allocator: BlockAllocator) {
    this.#allocator = allocator;
    this.#file = file;
    this.#layer = layer;
    this.#disk = disk;
  }

  /** Writes the bytes, or zeroes where there are none. */
  async write(range: ByteRange, bytes: Uint8Array | undefined): Promise<void> {
    const places = await this.#placesInFile(range);
    if (places) {
      await this.#writeAll(range, bytes, places);
      return;
    }
    const { blockSizeBytes } = this.#layer.parameters;
    const first = Math.floor(range.offset / blockSizeBytes);
    const last = Math.floor((range.offset + range.length - 1) / blockSizeBytes);
    await this.#locks.run(first, last, async () => await this.#writeLocked(range, bytes));
  }

  /** Undefined unless the file holds all of the range. */
  async #placesInFile(range: ByteRange): Promise<Placed[] | undefined> {
    const places: Placed[] = [];
    for await (const piece of this.#layer.pieces(range)) {
      if (piece.kind !== 'file') return undefined;
      places.push(piece);
    }
    return places;
  }

  async #writeLocked(range: ByteRange, bytes: Uint8Array | undefined): Promise<void> {
    const placed: Placed[] = [];
    for (const part of blockParts(range, this.#layer.parameters.blockSizeBytes)) {
      const entry = await this.#layer.blocks.entry(part.blockIndex);
      const isDone = bytes === undefined && (await this.#zeroByState(part, entry));
      if (!isDone) placed.push(await this.#place(part, entry));
    }
    await this.#writeAll(range, bytes, joined(placed));
    for (const { settle } of placed) await settle?.();
  }

  /** True when the part reads as zeroes by what the BAT says of its block. */
  async #zeroByState(part: BlockPart, { state }: BatEntry): Promise<boolean> {
    if (state === PAYLOAD.fullyPresent || state === PAYLOAD.partiallyPresent) return false;
    if (state === PAYLOAD.zero) return true;
    if (state === PAYLOAD.notPresent) {
      if (!this.#layer.parameters.isDifferencing) return true;
      if (!this.#isWhole(part)) return false;
    }
    // What was undefined or unmapped may be read as something else by others.
    await this.#layer.blocks.setEntry(part.blockIndex, { state: PAYLOAD.zero, offset: 0 });
    return true;
  }

  /** Finds or makes the place of the part. */
  async #place(part: BlockPart, entry: BatEntry): Promise<Placed> {
    const { parameters, blocks } = this.#layer;
    if (entry.state === PAYLOAD.fullyPresent) return placedIn(part, entry.offset);
    const isPartial = entry.state === PAYLOAD.partiallyPresent;
    const isNew = entry.state === PAYLOAD.notPresent;
    const offset = isPartial
      ? entry.offset
      : await this.#allocator.allocate(parameters.blockSizeBytes);
    const settleWhole = async (): Promise<void> =>
      await blocks.setEntry(part.blockIndex, { state: PAYLOAD.fullyPresent, offset });
    // The rest of a block that was zero is zero in its new place, too.
    const isFull = this.#isWhole(part) || !(isPartial || (isNew && parameters.isDifferencing));
    if (isFull) return placedIn(part, offset, settleWhole);
    await this.#fillEdges(part, offset);
    if (isPartial) return placedIn(part, offset, async () => await this.#markPresent(part));
    return placedIn(part, offset, async () => await this.#settlePartial(part, offset));
  }

  /** A block that is new in the file, and holds this part. */
  async #settlePartial(part: BlockPart, offset: number): Promise<void> {
    const { blocks } = this.#layer;
    await this.#provideBitmap(part.blockIndex);
    // Bits of a block that is not present mean nothing, and may be anything.
    await blocks.clearBitmap(part.blockIndex);
    await this.#markPresent(part);
    await blocks.setEntry(part.blockIndex, { state: PAYLOAD.partiallyPresent, offset });
  }

  async #provideBitmap(blockIndex: number): Promise<void> {
    const { blocks } = this.#layer;
    // Two blocks of a chunk share a bitmap block, and may be written at once.
    await this.#bitmapAllocation.run(async () => {
      const { state } = await blocks.bitmapEntry(blockIndex);
      if (state === BITMAP.present) return;
      await blocks.setBitmapEntry(blockIndex, await this.#allocator.allocate(BITMAP_BLOCK_BYTES));
    });
  }

  async #markPresent({ blockIndex, within, length }: BlockPart): Promise<void> {
    const { logicalSectorBytes } = this.#layer.parameters;
    const first = Math.floor(within / logicalSectorBytes);
    const end = Math.ceil((within + length) / logicalSectorBytes);
    await this.#layer.blocks.markPresent(blockIndex, first, end);
  }

  /** Copies the sectors that the part covers in part from the parent. */
  async #fillEdges({ offset, length, within }: BlockPart, blockOffset: number): Promise<void> {
    const sectorBytes = this.#layer.parameters.logicalSectorBytes;
    const blockStart = offset - within;
    const edges = [offset, offset + length].filter((edge) => edge % sectorBytes !== 0);
    for (const sectorStart of new Set(edges.map((edge) => edge - (edge % sectorBytes)))) {
      if (await this.#isHere({ offset: sectorStart, length: sectorBytes })) continue;
      const sector = Buffer.alloc(sectorBytes);
      await this.#disk.read(sectorStart, sector);
      await this.#file.write(blockOffset + sectorStart - blockStart, sector);
    }
  }

  /** True when the sector is in this image, where others may be writing to it now. */
  async #isHere(sector: ByteRange): Promise<boolean> {
    for await (const { kind } of this.#layer.pieces(sector)) return kind === 'file';
    return false;
  }

  async #writeAll(
    range: ByteRange,
    bytes: Uint8Array | undefined,
    places: readonly Placed[],
  ): Promise<void> {
    const queue = new TaskQueue(WRITES_AT_ONCE);
    try {
      for (const { offset, length, fileOffset } of places) {
        const start = offset - range.offset;
        await queue.add(async () => {
          if (bytes) await this.#file.write(fileOffset, bytes.subarray(start, start + length));
          else await this.#file.zero(fileOffset, length);
        });
      }
    } finally {
      await queue.drain();
    }
  }

  #isWhole({ blockIndex, within, length }: BlockPart): boolean {
    const { blockSizeBytes, sizeBytes } = this.#layer.parameters;
    return (
      within === 0 && length === Math.min(blockSizeBytes, sizeBytes - blockIndex * blockSizeBytes)
    );
  }
}

function placedIn(
  { offset, length, within }: BlockPart,
  blockOffset: number,
  settle?: () => Promise<void>,
): Placed {
  return { offset, length, fileOffset: blockOffset + within, ...(settle && { settle }) };
}

/** Parts that follow each other in the disk and in the file are one write. */
function joined(parts: readonly Placed[]): Placed[] {
  const result: Placed[] = [];
  for (const { offset, length, fileOffset } of parts) {
    const last = result.at(-1);
    const isNext =
      last && last.offset + last.length === offset && last.fileOffset + last.length === fileOffset;
    if (isNext) result[result.length - 1] = { ...last, length: last.length + length };
    else result.push({ offset, length, fileOffset });
  }
  return result;
}
