/**
 * Slabs: a fixed number of large shared buffers that chunks pass through. They bound the memory of a
 * run, they are seen by all threads without a copy, and they are used again and again, since fresh
 * memory costs a page fault for each 4 KiB.
 */
import { assert, Semaphore } from '@coffer/base';
import { alignedSharedBuffer } from '@coffer/base/libc.ts';

export const SLAB_SIZE_BYTES = 4 * 1024 * 1024;

export interface Slab {
  readonly bytes: Buffer;
}

/** A part of a slab, in bytes. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

export class SlabPool {
  readonly #free: Slab[] = [];
  readonly #places: Semaphore;
  readonly #sizeBytes: number;

  constructor(countMax: number, sizeBytes: number = SLAB_SIZE_BYTES) {
    this.#places = new Semaphore(countMax);
    this.#sizeBytes = sizeBytes;
  }

  /** Waits until a slab is free. */
  async acquire(): Promise<Slab> {
    await this.#places.acquire();
    return this.#free.pop() ?? { bytes: alignedSharedBuffer(this.#sizeBytes) };
  }

  release(slab: Slab): void {
    assert(!this.#free.includes(slab), 'a slab is released once');
    this.#free.push(slab);
    this.#places.release();
  }

  async use<T>(task: (slab: Slab) => Promise<T>): Promise<T> {
    const slab = await this.acquire();
    try {
      return await task(slab);
    } finally {
      this.release(slab);
    }
  }
}
