/**
 * The sectors of 4 KiB of the BAT and the sector bitmaps that are in memory: read when they are
 * needed, a bounded number kept, changed ones kept until they are durable.
 *
 * Invariant: at any time there is at most one buffer in memory for a sector, so that no change is
 * lost. A sector is read once even when many ask at once, and one that is changed, or being written,
 * is not dropped.
 */
import type { Disk } from '../disk.ts';
import { LOG_SECTOR_BYTES } from './sizes.ts';

/** 4 MiB: the BAT of 1 TB in blocks of 2 MiB. */
const KEPT_COUNT_MAX = 1024;
/** Changes that wait for the next commit. */
const CHANGED_COUNT_MAX = 1024;

/** A copy of a changed sector, and its byte offset in the file. */
export interface ChangedSector {
  readonly fileOffset: number;
  readonly bytes: Buffer;
}

export class MetadataSectors {
  readonly #file: Disk;
  /** In the order in which they were read. */
  readonly #kept = new Map<number, Buffer>();
  readonly #loading = new Map<number, Promise<Buffer>>();
  #changed = new Set<number>();
  #taken = new Set<number>();

  constructor(file: Disk) {
    this.#file = file;
  }

  /** True when the changes should be committed. */
  get isFull(): boolean {
    return this.#changed.size >= CHANGED_COUNT_MAX;
  }

  /** The sector that begins at the offset in the file, if it is in memory. Only `edit` changes it. */
  cached(sectorOffset: number): Buffer | undefined {
    return this.#kept.get(sectorOffset);
  }

  async load(sectorOffset: number): Promise<Buffer> {
    const kept = this.#kept.get(sectorOffset);
    if (kept) return kept;
    const loading = this.#loading.get(sectorOffset) ?? this.#read(sectorOffset);
    this.#loading.set(sectorOffset, loading);
    return await loading;
  }

  /** Changes the bytes at an offset in the file, in one sector. */
  async edit(fileOffset: number, length: number, change: (bytes: Buffer) => void): Promise<void> {
    const within = fileOffset % LOG_SECTOR_BYTES;
    const sectorOffset = fileOffset - within;
    let sector = await this.load(sectorOffset);
    // While this waited for the sector, it may have been dropped again.
    while (this.#kept.get(sectorOffset) !== sector) sector = await this.load(sectorOffset);
    change(sector.subarray(within, within + length));
    this.#changed.add(sectorOffset);
  }

  /** What was changed since it was taken last. `settle` or `restore` follows. */
  take(): ChangedSector[] {
    this.#taken = this.#changed;
    this.#changed = new Set();
    return [...this.#taken].map((fileOffset) => ({
      fileOffset,
      bytes: Buffer.from(this.#kept.get(fileOffset)!),
    }));
  }

  /** Says that what was taken is durable. */
  settle(): void {
    this.#taken = new Set();
  }

  /** Says that what was taken may not be durable, and has to be taken again. */
  restore(): void {
    for (const sectorOffset of this.#taken) this.#changed.add(sectorOffset);
    this.#taken = new Set();
  }

  async #read(sectorOffset: number): Promise<Buffer> {
    try {
      const sector = Buffer.alloc(LOG_SECTOR_BYTES);
      await this.#file.read(sectorOffset, sector);
      this.#keep(sectorOffset, sector);
      return sector;
    } finally {
      this.#loading.delete(sectorOffset);
    }
  }

  #keep(sectorOffset: number, sector: Buffer): void {
    this.#kept.set(sectorOffset, sector);
    if (this.#kept.size <= KEPT_COUNT_MAX) return;
    for (const oldest of this.#kept.keys()) {
      if (this.#changed.has(oldest) || this.#taken.has(oldest) || oldest === sectorOffset) continue;
      this.#kept.delete(oldest);
      return;
    }
  }
}
