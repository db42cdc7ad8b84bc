/**
 * A file in memory under an image, which tells its writes: a machine that stops can be played from
 * them.
 */
import { CofferError } from '@coffer/base';
import { type ByteRange, type Extent, wholeOf, type WritableDisk } from '../../disk.ts';
import { alignUp, SECTOR_BYTES } from '../sizes.ts';

export type FileEvent =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'flush' };

export class MemoryFile implements WritableDisk {
  readonly events: FileEvent[] = [];
  #bytes: Buffer;
  #sizeBytes: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes);
    this.#sizeBytes = bytes.length;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#sizeBytes);
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await Promise.resolve();
    if (offset + target.length > this.#sizeBytes) {
      throw new CofferError('source-changed', { endsAt: this.#sizeBytes });
    }
    target.set(this.#bytes.subarray(offset, offset + target.length));
  }

  *extents(range: ByteRange = wholeOf(this)): Iterable<Extent> {
    if (range.length > 0) yield { ...range, kind: 'data' };
  }

  /** It is told in whole sectors, with what they hold then, as a page cache writes them. */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const start = offset - (offset % SECTOR_BYTES);
    const end = alignUp(offset + bytes.length, SECTOR_BYTES);
    const sectors = Buffer.alloc(end - start);
    sectors.set(this.bytes.subarray(start, end));
    sectors.set(bytes, offset - start);
    this.apply({ kind: 'write', offset: start, bytes: sectors });
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.write(offset, Buffer.alloc(length));
  }

  async flush(): Promise<void> {
    this.apply({ kind: 'flush' });
  }

  async close(): Promise<void> {}

  apply(event: FileEvent): void {
    this.events.push(event);
    if (event.kind === 'flush') return;
    const end = event.offset + event.bytes.length;
    if (end > this.#bytes.length) {
      const grown = Buffer.alloc(end * 2);
      this.#bytes.copy(grown);
      this.#bytes = grown;
    }
    event.bytes.copy(this.#bytes, event.offset);
    this.#sizeBytes = Math.max(this.#sizeBytes, end);
  }
}
