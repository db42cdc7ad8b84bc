/**
 * Buffers that are used again: requests come by the thousand a second, and most have one size. Of
 * those that are not in use it keeps a bounded number of bytes.
 */
const KEPT_SIZE_BYTES_MAX = 64 * 1024 * 1024;
const PAGE_SIZE_BYTES = 4096;

export class BufferPool {
  readonly #free = new Map<number, Buffer[]>();
  #keptBytes = 0;

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** A buffer of that length, with anything in it. */
  take(length: number): Buffer {
    const size = sizeClass(length);
    const kept = this.#free.get(size)?.pop();
    if (kept) this.#keptBytes -= size;
    return (kept ?? Buffer.allocUnsafeSlow(size)).subarray(0, length);
  }

  /** Takes a buffer back that `take` gave. */
  give(buffer: Buffer): void {
    const size = buffer.buffer.byteLength;
    if (this.#keptBytes + size > KEPT_SIZE_BYTES_MAX) return;
    this.#keptBytes += size;
    const kept = this.#free.get(size);
    const whole = Buffer.from(buffer.buffer);
    if (kept) kept.push(whole);
    else this.#free.set(size, [whole]);
  }

  async use<T>(length: number, task: (buffer: Buffer) => Promise<T>): Promise<T> {
    const buffer = this.take(length);
    try {
      return await task(buffer);
    } finally {
      this.give(buffer);
    }
  }
}

/** The next power of two, from a page on. */
function sizeClass(length: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(length, PAGE_SIZE_BYTES)));
}
