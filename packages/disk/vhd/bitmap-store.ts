/**
 * The sector bitmaps of one image. They are read when they are needed, and a few are kept. Bits that
 * are set stay in memory until they are taken to be written.
 *
 * Invariant: at any time there is at most one buffer in memory for a bitmap, so no bit is lost. Three
 * things give that: a bitmap is read once even when many ask at once, changed ones are not dropped,
 * and neither are those that are being written.
 */
import type { Disk } from '../disk.ts';
import type { BlockTable } from './block-table.ts';
import { bitmapBytesOf, markPresent } from './sector-bitmap.ts';

const KEPT_BYTES_MAX = 1024 * 1024;
const CHANGED_BYTES_MAX = 8 * 1024 * 1024;

/** A bitmap as it was when it was taken. */
export interface TakenBitmap {
  readonly blockIndex: number;
  readonly bytes: Buffer;
}

export class BitmapStore {
  readonly bitmapBytes: number;
  readonly #file: Disk;
  readonly #table: BlockTable;
  /** In the order of last use. */
  readonly #kept = new Map<number, Buffer>();
  readonly #loading = new Map<number, Promise<Buffer>>();
  #changed = new Map<number, Buffer>();
  #written = new Map<number, Buffer>();

  constructor(file: Disk, table: BlockTable, blockSizeBytes: number) {
    this.#file = file;
    this.#table = table;
    this.bitmapBytes = bitmapBytesOf(blockSizeBytes);
  }

  /** True when the changed bitmaps should be written. */
  get isFull(): boolean {
    return this.#changed.size * this.bitmapBytes >= CHANGED_BYTES_MAX;
  }

  /** The bitmap of an allocated block. It must not be changed but by `mark`. */
  async load(blockIndex: number): Promise<Buffer> {
    const held = this.#changed.get(blockIndex) ?? this.#written.get(blockIndex);
    if (held) return held;
    const kept = this.#kept.get(blockIndex);
    if (kept) {
      this.keep(blockIndex, kept);
      return kept;
    }
    const loading = this.#loading.get(blockIndex) ?? this.#read(blockIndex);
    this.#loading.set(blockIndex, loading);
    return await loading;
  }

  /** Keeps the bitmap of a block that is new in the file. */
  keep(blockIndex: number, bitmap: Buffer): void {
    this.#kept.delete(blockIndex);
    this.#kept.set(blockIndex, bitmap);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size * this.bitmapBytes <= KEPT_BYTES_MAX) break;
      this.#kept.delete(oldest);
    }
  }

  /** Says that the sectors of a block from `sector` to before `end` are in this image. */
  async mark(blockIndex: number, sector: number, end: number): Promise<void> {
    const bitmap = await this.load(blockIndex);
    if (markPresent(bitmap, sector, end)) this.#changed.set(blockIndex, bitmap);
  }

  /** Copies of what was changed since it was taken last. `settle` follows when it is written. */
  take(): TakenBitmap[] {
    this.#written = this.#changed;
    this.#changed = new Map();
    return [...this.#written].map(([blockIndex, bitmap]) => ({
      blockIndex,
      bytes: Buffer.from(bitmap),
    }));
  }

  settle(): void {
    for (const [blockIndex, bitmap] of this.#written) this.keep(blockIndex, bitmap);
    this.#written = new Map();
  }

  async #read(blockIndex: number): Promise<Buffer> {
    const bitmap = Buffer.alloc(this.bitmapBytes);
    try {
      await this.#file.read(this.#table.offsetOf(blockIndex)!, bitmap);
      this.keep(blockIndex, bitmap);
      return bitmap;
    } finally {
      this.#loading.delete(blockIndex);
    }
  }
}
