/**
 * A VHDX that is written. A crash at any moment leaves a valid file, with all that was flushed.
 *
 * Invariant, the order of what becomes durable ([MS-VHDX] 2.2.2.1, 2.3):
 * 1. before anything else is changed, a header with new FileWriteGuid and DataWriteGuid;
 * 2. payload blocks, and the size of the file;
 * 3. an entry of the log with the changed sectors of BAT and bitmaps;
 * 4. with the first entry, a header that names the log;
 * 5. those sectors in their place; the bitmaps before the BAT, and the BAT from its end to its
 *    beginning, since the entry of a sector bitmap follows those of the blocks that need it;
 * 6. at the end, a header that says that the log is empty, and then the file without what it grew too
 *    much.
 * Between each two of them the file is flushed. Steps 2 to 5 are one commit; commits and growth of
 * the file exclude each other, since a log entry tells the size of the file.
 */
import { CofferError, type Random, Semaphore } from '@coffer/base';
import type { ByteRange, Extent, WritableDisk } from '../disk.ts';
import { BlockAllocator } from './block-allocator.ts';
import type { BlockMap } from './block-map.ts';
import { BlockWriter } from './block-writer.ts';
import { ChainedDisk } from './chained-disk.ts';
import { openParents } from './chain.ts';
import { ZERO_GUID } from '../guid-codec.ts';
import { HeaderWriter } from './header-writer.ts';
import { readHeader, readImage, readLog, type VhdxImage } from './image.ts';
import type { ImageFile } from './image-file.ts';
import { Layer } from './layer.ts';
import { MetadataLog } from './metadata-log.ts';
import type { ChangedSector } from './metadata-sectors.ts';
import { replayInto } from './replay.ts';
import { ALIGNMENT_BYTES, roundUp } from './sizes.ts';

/** It bounds the locks and the entries of one step. */
const BLOCKS_AT_ONCE = 1024;

/**
 * Opens the image in a file for writing, and replays its log into the file. The file is closed with
 * the disk, or on failure.
 */
export async function openWritableIn(
  path: string,
  file: ImageFile,
  random: Random,
): Promise<WritableDisk> {
  try {
    return await openReplayed(path, file, random);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openReplayed(path: string, file: ImageFile, random: Random): Promise<WritableDisk> {
  const current = await readHeader(path, file);
  const headers = new HeaderWriter(path, file, current, random);
  const replay = await readLog(path, file, current.header);
  if (replay) {
    await headers.beginFileWrite();
    await replayInto(file, replay);
    await headers.setLogGuid(ZERO_GUID);
  }
  const image = await readImage(path, file, headers.header);
  const log = new MetadataLog(path, file, headers, random);
  return new WritableVhdx(image, await openParents(image), headers, log);
}

class WritableVhdx implements WritableDisk {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #file: ImageFile;
  readonly #disk: ChainedDisk;
  readonly #blocks: BlockMap;
  readonly #allocator: BlockAllocator;
  readonly #writer: BlockWriter;
  readonly #windowBytes: number;
  readonly #headers: HeaderWriter;
  readonly #log: MetadataLog;
  readonly #commits = new Semaphore(1);
  #begun: Promise<void> | undefined;

  constructor(
    image: VhdxImage<ImageFile>,
    parents: readonly VhdxImage[],
    headers: HeaderWriter,
    log: MetadataLog,
  ) {
    const layer = new Layer(image);
    this.#path = image.path;
    this.#file = image.file;
    this.#disk = new ChainedDisk([layer, ...parents.map((parent) => new Layer(parent))]);
    this.#blocks = layer.blocks;
    this.#allocator = new BlockAllocator(image.file, image.endOffset, this.#commits);
    this.#writer = new BlockWriter(image.file, layer, this.#disk, this.#allocator);
    this.#windowBytes = BLOCKS_AT_ONCE * layer.parameters.blockSizeBytes;
    this.#headers = headers;
    this.#log = log;
    this.sizeBytes = this.#disk.sizeBytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#disk.read(offset, target);
  }

  extents(range?: ByteRange): AsyncIterable<Extent> {
    return this.#disk.extents(range);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#change({ offset, length: bytes.length }, bytes);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.#change({ offset, length }, undefined);
  }

  async flush(): Promise<void> {
    await this.#commits.run(async () => await this.#commit());
  }

  async close(): Promise<void> {
    try {
      if (this.#begun) await this.#end();
    } finally {
      await this.#disk.close();
    }
  }

  async #change({ offset, length }: ByteRange, bytes: Uint8Array | undefined): Promise<void> {
    if (offset + length > this.sizeBytes) {
      const details = { path: this.#path, sizeBytes: this.sizeBytes, endsAt: offset + length };
      throw new CofferError('target-too-small', details);
    }
    this.#begun ??= this.#begin();
    await this.#begun;
    for (let done = 0; done < length; done += this.#windowBytes) {
      const window = { offset: offset + done, length: Math.min(this.#windowBytes, length - done) };
      await this.#writer.write(window, bytes?.subarray(done, done + window.length));
      if (this.#blocks.sectors.isFull) await this.#commitIfFull();
    }
  }

  async #begin(): Promise<void> {
    await this.#headers.beginDataWrite();
    const sizeBytes = roundUp(this.#file.sizeBytes, ALIGNMENT_BYTES);
    if (sizeBytes > this.#file.sizeBytes) await this.#file.resize(sizeBytes);
  }

  async #end(): Promise<void> {
    await this.flush();
    await this.#log.clear();
    await this.#allocator.trim();
  }

  async #commitIfFull(): Promise<void> {
    await this.#commits.run(async () => {
      // Another write may have waited for the same commit.
      if (this.#blocks.sectors.isFull) await this.#commit();
    });
  }

  async #commit(): Promise<void> {
    const changed = this.#blocks.sectors.take();
    try {
      await this.#file.flush();
      await this.#log.commit(this.#inOrder(changed));
      this.#blocks.sectors.settle();
    } catch (error) {
      this.#blocks.sectors.restore();
      throw error;
    }
  }

  #inOrder(changed: readonly ChangedSector[]): ChangedSector[] {
    const bitmaps = changed.filter(({ fileOffset }) => !this.#blocks.isInTable(fileOffset));
    const table = changed.filter(({ fileOffset }) => this.#blocks.isInTable(fileOffset));
    return [...bitmaps, ...table.toSorted((a, b) => b.fileOffset - a.fileOffset)];
  }
}
