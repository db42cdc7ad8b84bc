/**
 * New qcow2 images, written by ourselves: what is written goes to the disk at once and in order, as
 * to a raw image, which is several times faster than through a server. Images that exist are opened
 * by QEMU's own tools.
 *
 * Invariant: until it is closed an image is marked dirty, and its header and tables refer to nothing
 * that is not written. Then the references are counted and synced, and the mark is taken away.
 */
import { rm, truncate } from 'node:fs/promises';
import { CofferError, Semaphore } from '@coffer/base';
import { type ByteRange, type Extent, wholeOf, type WritableDisk } from '../disk.ts';
import { createRawDisk } from '../raw.ts';
import { targetFailure } from '../target-failure.ts';
import { ClusterMap, type MappedRange } from './cluster-map.ts';
import {
  CLUSTER_BYTES,
  encodeHeader,
  ENTRIES_PER_TABLE,
  ENTRY_BYTES,
  REFCOUNT_BYTES,
  REFCOUNTS_PER_BLOCK,
} from './header-codec.ts';

/** The file grows in such steps, ahead of what is written: writes at its end wait for each other. */
const GROWTH_BYTES = 64 * 1024 * 1024;

/**
 * Makes an image of zeroes; its size is a multiple of 512. Fails with `target-unwritable` when there
 * is a file of that name, and with `target-full`.
 */
export async function createQcow2(path: string, sizeBytes: number): Promise<WritableDisk> {
  const file = await createRawDisk(path, 0);
  try {
    const image = new NewQcow2(path, file, sizeBytes);
    await image.begin();
    return image;
  } catch (error) {
    await file.close();
    await rm(path, { force: true });
    throw error;
  }
}

class NewQcow2 implements WritableDisk {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #file: WritableDisk;
  readonly #map: ClusterMap;
  readonly #firstLevelOffset: number;
  readonly #refcountTable: Buffer;
  /** One at a time looks at the map, or changes it. */
  readonly #mapping = new Semaphore(1);
  #fileSizeBytes = 0;

  constructor(path: string, file: WritableDisk, sizeBytes: number) {
    this.#path = path;
    this.#file = file;
    this.sizeBytes = sizeBytes;
    // Before the clusters: the header, the refcount table and the first level, in this order.
    this.#refcountTable = Buffer.alloc(upToCluster(refcountTableBytesMax(sizeBytes)));
    this.#firstLevelOffset = CLUSTER_BYTES + this.#refcountTable.length;
    const firstLevelBytes = firstLevelBytesOf(sizeBytes);
    this.#map = new ClusterMap(file, sizeBytes, this.#firstLevelOffset + firstLevelBytes);
  }

  async begin(): Promise<void> {
    await this.#growTo(this.#map.end);
    await this.#file.write(0, this.#header(true));
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.sizeBytes) {
      throw new CofferError('source-changed', { path: this.#path, endsAt: this.sizeBytes });
    }
    const range = { offset, length: target.length };
    for (const part of await this.#mapping.run(() => this.#map.find(range))) {
      const place = target.subarray(part.offset - offset, part.offset - offset + part.length);
      if (part.fileOffset === undefined) place.fill(0);
      else await this.#file.read(part.fileOffset, place);
    }
  }

  async *extents(range: ByteRange = wholeOf(this)): AsyncIterable<Extent> {
    for (const part of await this.#mapping.run(() => this.#map.find(range))) {
      const { offset, length, fileOffset } = part;
      yield { offset, length, kind: fileOffset === undefined ? 'zero' : 'data' };
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const parts = await this.#mapping.run(() => this.#allocate({ offset, length: bytes.length }));
    for (const part of parts) {
      const start = part.offset - offset;
      await this.#file.write(part.fileOffset!, bytes.subarray(start, start + part.length));
    }
  }

  /** What was never written is zero; of the rest the file keeps a hole. */
  async zero(offset: number, length: number): Promise<void> {
    for (const part of await this.#mapping.run(() => this.#map.find({ offset, length }))) {
      if (part.fileOffset !== undefined) await this.#file.zero(part.fileOffset, part.length);
    }
  }

  async flush(): Promise<void> {
    // What the tables refer to is durable before they are.
    await this.#file.flush();
    await this.#mapping.run(() => this.#writeTables());
    await this.#file.flush();
  }

  async close(): Promise<void> {
    try {
      await this.flush();
      await this.#writeRefcounts();
      await this.#file.flush();
      await this.#file.write(0, this.#header(false));
      await this.#file.flush();
    } finally {
      await this.#file.close();
    }
  }

  async #allocate(range: ByteRange): Promise<MappedRange[]> {
    const parts = await this.#map.allocate(range);
    await this.#growTo(this.#map.end);
    return parts;
  }

  /** Ahead of every write, so that what of a cluster is not written reads as zeroes. */
  async #growTo(sizeBytes: number): Promise<void> {
    if (sizeBytes > this.#fileSizeBytes) await this.#resize(sizeBytes + GROWTH_BYTES);
  }

  async #resize(sizeBytes: number): Promise<void> {
    try {
      await truncate(this.#path, sizeBytes);
      this.#fileSizeBytes = sizeBytes;
    } catch (error) {
      throw targetFailure(this.#path, error);
    }
  }

  async #writeTables(): Promise<void> {
    await this.#map.write();
    await this.#file.write(this.#firstLevelOffset, this.#map.firstLevel);
  }

  /** All clusters up to the end of the file have one reference, those of the counts, too. */
  async #writeRefcounts(): Promise<void> {
    const blockCount = blocksFor(this.#map.end / CLUSTER_BYTES);
    const blocks = Array.from({ length: blockCount }, () => this.#map.take());
    await this.#resize(this.#map.end);
    const clusterCount = this.#map.end / CLUSTER_BYTES;
    for (const [index, fileOffset] of blocks.entries()) {
      const counted = Math.min(REFCOUNTS_PER_BLOCK, clusterCount - index * REFCOUNTS_PER_BLOCK);
      const block = Buffer.alloc(CLUSTER_BYTES);
      for (let entry = 0; entry < counted; entry++) block.writeUInt16BE(1, entry * REFCOUNT_BYTES);
      await this.#file.write(fileOffset, block);
      this.#refcountTable.writeBigUInt64BE(BigInt(fileOffset), index * ENTRY_BYTES);
    }
    await this.#file.write(CLUSTER_BYTES, this.#refcountTable);
  }

  #header(isDirty: boolean): Buffer {
    return encodeHeader({
      sizeBytes: this.sizeBytes,
      firstLevelOffset: this.#firstLevelOffset,
      firstLevelEntries: this.#map.firstLevel.length / ENTRY_BYTES,
      refcountTableOffset: CLUSTER_BYTES,
      refcountTableClusters: this.#refcountTable.length / CLUSTER_BYTES,
      isDirty,
    });
  }
}

/** Blocks that count the references to so many clusters and to themselves. */
function blocksFor(clusterCount: number): number {
  // Of each block, one count is its own.
  return Math.ceil(clusterCount / (REFCOUNTS_PER_BLOCK - 1));
}

function firstLevelBytesOf(sizeBytes: number): number {
  return upToCluster(tableCountOf(sizeBytes) * ENTRY_BYTES);
}

function tableCountOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / CLUSTER_BYTES / ENTRIES_PER_TABLE);
}

/** Enough for an image all of which is written. */
function refcountTableBytesMax(sizeBytes: number): number {
  const tables = tableCountOf(sizeBytes) * CLUSTER_BYTES;
  const content = upToCluster(sizeBytes) + tables + firstLevelBytesOf(sizeBytes);
  // The header and the table itself; a cluster of the table is enough for 16 TiB.
  const clusters = content / CLUSTER_BYTES + 1 + Math.ceil(content / 2 ** 44) + 1;
  return blocksFor(clusters) * ENTRY_BYTES;
}

function upToCluster(sizeBytes: number): number {
  return Math.ceil(sizeBytes / CLUSTER_BYTES) * CLUSTER_BYTES;
}
