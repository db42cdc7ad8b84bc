/**
 * Windows of a disk that are fetched before they are asked for. Several readers may follow each
 * other: a window is begun when the chunk before was read lately, and those after it when it is used.
 */
import {
  type ChunkFailure,
  type ChunkReader,
  type ChunkWork,
  type DiskTreeReader,
  GEOMETRY,
  type Slab,
  SLAB_SIZE_BYTES,
  ZERO_ID,
} from '@coffer/repository';
import { alignedSharedBuffer } from '@coffer/base/libc.ts';

const CHUNK_SIZE_BYTES = GEOMETRY.diskChunkSizeBytes;
const CHUNKS_PER_WINDOW = SLAB_SIZE_BYTES / CHUNK_SIZE_BYTES;
/** With 16 chunks each, a store that answers late does not set the pace. */
const WINDOWS_AHEAD = 4;
/** Two readers, each with requests for 16 MiB under way and as much ahead, and some that come back. */
const WINDOWS_MAX = 24;
/** Chunks that were read last; requests of one reader come in about, not exactly, in order. */
const REMEMBERED_MAX = 64;
const CHUNKS_IN_ORDER_MIN = 3;

export interface ReadAheadSource {
  readonly reader: ChunkReader;
  readonly work: ChunkWork;
  readonly sizeBytes: number;
}

interface Window {
  readonly slab: Slab;
  readonly fetched: Promise<readonly ChunkFailure[]>;
  isFetched: boolean;
  /** Copies from the slab that wait for it or are under way. */
  users: number;
  /** Bytes that were copied from it; most windows are read once, and then not again. */
  copied: number;
}

export class ReadAhead {
  readonly #source: ReadAheadSource;
  readonly #tree: DiskTreeReader;
  /** In the order of their last use. */
  readonly #windows = new Map<number, Window>();
  /** Chunks read last, in the order of reading. */
  readonly #read = new Set<number>();

  constructor(source: ReadAheadSource, tree: DiskTreeReader) {
    this.#source = source;
    this.#tree = tree;
  }

  /** Copies a part of a chunk, if its window is here or reads have come to it in order. */
  async copy(chunkIndex: number, offset: number, target: Uint8Array): Promise<boolean> {
    const windowIndex = Math.floor(chunkIndex / CHUNKS_PER_WINDOW);
    const isInOrder = this.#remember(chunkIndex);
    const window = this.#windows.get(windowIndex) ?? (isInOrder && this.#begin(windowIndex));
    if (!window) return false;
    window.users++;
    try {
      this.#touch(windowIndex, window);
      this.#beginNext(windowIndex);
      const failures = await window.fetched;
      const start = (chunkIndex % CHUNKS_PER_WINDOW) * CHUNK_SIZE_BYTES;
      const failure = failures.find(({ request }) => request.targetOffset === start);
      if (failure) throw failure.error;
      target.set(window.slab.bytes.subarray(start + offset, start + offset + target.length));
      window.copied += target.length;
      return true;
    } finally {
      window.users--;
    }
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#windows.values()].map(({ fetched }) => fetched));
  }

  /** True when the chunks before this one were read, too. */
  #remember(chunkIndex: number): boolean {
    this.#read.delete(chunkIndex);
    this.#read.add(chunkIndex);
    const [oldest] = this.#read;
    if (this.#read.size > REMEMBERED_MAX && oldest !== undefined) this.#read.delete(oldest);
    for (let back = 1; back < CHUNKS_IN_ORDER_MIN; back++) {
      if (!this.#read.has(chunkIndex - back)) return false;
    }
    return true;
  }

  #touch(windowIndex: number, window: Window): void {
    this.#windows.delete(windowIndex);
    this.#windows.set(windowIndex, window);
  }

  #beginNext(windowIndex: number): void {
    const end = Math.ceil(this.#source.sizeBytes / SLAB_SIZE_BYTES);
    const last = Math.min(windowIndex + WINDOWS_AHEAD, end - 1);
    for (let next = windowIndex + 1; next <= last; next++) {
      if (!this.#windows.has(next)) this.#begin(next);
    }
  }

  /** Begins to fetch a window, unless all slabs are in use. */
  #begin(windowIndex: number): Window | undefined {
    const slab =
      this.#windows.size < WINDOWS_MAX
        ? { bytes: alignedSharedBuffer(SLAB_SIZE_BYTES) }
        : this.#takeOldest();
    if (!slab) return undefined;
    const fetched = this.#fetch(windowIndex, slab);
    const window: Window = { slab, fetched, isFetched: false, users: 0, copied: 0 };
    this.#windows.set(windowIndex, window);
    fetched.then(
      () => {
        window.isFetched = true;
      },
      // What failed is tried again by the next who reads there.
      () => this.#windows.get(windowIndex) === window && this.#windows.delete(windowIndex),
    );
    return window;
  }

  /**
   * The slab of a window that nobody waits for: one that was read to its end, or else the one that was
   * used least recently. Those that were fetched ahead and not read yet are the last to go.
   */
  #takeOldest(): Slab | undefined {
    const idle = [...this.#windows].filter(([, { users, isFetched }]) => users === 0 && isFetched);
    const [index, window] =
      idle.find(([, { copied }]) => copied >= SLAB_SIZE_BYTES) ??
      idle.find(([, { copied }]) => copied > 0) ??
      idle[0] ??
      [];
    if (index === undefined || !window) return undefined;
    this.#windows.delete(index);
    return window.slab;
  }

  async #fetch(windowIndex: number, slab: Slab): Promise<readonly ChunkFailure[]> {
    const { reader, work, sizeBytes } = this.#source;
    const first = windowIndex * CHUNKS_PER_WINDOW;
    const requests = [];
    for await (const leaf of this.#tree.leaves(first, first + CHUNKS_PER_WINDOW)) {
      for (let index = 0; index < leaf.chunkCount; index++) {
        const chunkIndex = leaf.firstChunkIndex + index;
        requests.push({
          id: leaf.ids?.[index] ?? ZERO_ID,
          length: Math.min(CHUNK_SIZE_BYTES, sizeBytes - chunkIndex * CHUNK_SIZE_BYTES),
          targetOffset: (chunkIndex - first) * CHUNK_SIZE_BYTES,
        });
      }
    }
    return await reader.readInto(slab, requests, work);
  }
}
