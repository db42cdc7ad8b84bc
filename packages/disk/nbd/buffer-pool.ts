/**
 * Buffers that are used again: requests come by the thousand a second, and most have one size. It
 * keeps as many as were in use at once.
 */
const KEPT_SIZE_BYTES_MAX = 8 * 1024 * 1024;

export class BufferPool {
  readonly #free = new Map<number, Buffer[]>();

  take(length: number): Buffer {
    const size = sizeClass(length);
    const kept = this.#free.get(size)?.pop();
    return (kept ?? Buffer.allocUnsafeSlow(size)).subarray(0, length);
  }

  /** Takes a buffer back that `take` gave. */
  give(buffer: Buffer): void {
    const size = buffer.buffer.byteLength;
    if (size > KEPT_SIZE_BYTES_MAX) return;
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
  return 2 ** Math.max(12, Math.ceil(Math.log2(length)));
}
