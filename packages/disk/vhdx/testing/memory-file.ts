/**
 * The file of an image in memory, which tells what was done to it: a machine that stops can be played
 * from that.
 */
import { CofferError, type Random } from '@coffer/base';
import type { ByteRange, Extent } from '../../disk.ts';
import type { ImageFile } from '../image-file.ts';

const SECTOR_BYTES = 512;
const SIZE_BYTES_MAX = 256 * 1024 * 1024;

export type FileEvent =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'resize'; readonly sizeBytes: number }
  | { readonly kind: 'flush' };

export class MemoryFile implements ImageFile {
  readonly events: FileEvent[] = [];
  #bytes: Buffer;
  #sizeBytes: number;

  /** The buffer is used as it is, until the file grows. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
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

  *extents(range: ByteRange): Iterable<Extent> {
    if (range.length > 0) yield { ...range, kind: 'data' };
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await Promise.resolve();
    this.apply({ kind: 'write', offset, bytes: Buffer.from(bytes) });
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.write(offset, Buffer.alloc(length));
  }

  async resize(sizeBytes: number): Promise<void> {
    await Promise.resolve();
    this.apply({ kind: 'resize', sizeBytes });
  }

  async flush(): Promise<void> {
    await Promise.resolve();
    this.apply({ kind: 'flush' });
  }

  async close(): Promise<void> {}

  apply(event: FileEvent): void {
    if (event.kind === 'write') {
      this.#provide(Math.max(this.#sizeBytes, event.offset + event.bytes.length));
      event.bytes.copy(this.#bytes, event.offset);
    } else if (event.kind === 'resize') {
      this.#provide(event.sizeBytes);
    }
    this.events.push(event);
  }

  #provide(sizeBytes: number): void {
    if (sizeBytes > SIZE_BYTES_MAX) throw new CofferError('target-full', { sizeBytes });
    if (sizeBytes > this.#bytes.length) {
      const grown = Buffer.alloc(sizeBytes * 2);
      this.bytes.copy(grown);
      this.#bytes = grown;
    }
    this.#bytes.fill(0, Math.min(sizeBytes, this.#sizeBytes), this.#sizeBytes);
    this.#sizeBytes = sizeBytes;
  }
}

/**
 * What a file holds when the machine stops after so many events: all that was flushed, and any
 * sectors of what was not.
 */
export function afterCrash(start: Buffer, events: readonly FileEvent[], random: Random): Buffer {
  const flushed = events.findLastIndex(({ kind }) => kind === 'flush') + 1;
  const file = new MemoryFile(Buffer.from(start));
  for (const event of events.slice(0, flushed)) file.apply(event);
  for (const event of events.slice(flushed)) {
    const fate = random.fraction();
    if (fate < 0.3) continue;
    if (fate < 0.6 || event.kind !== 'write') file.apply(event);
    else
      for (const part of sectorsOf(event.offset, event.bytes))
        if (random.fraction() < 0.5) file.apply(part);
  }
  return file.bytes;
}

function* sectorsOf(offset: number, bytes: Buffer): Generator<FileEvent> {
  for (let done = 0; done < bytes.length;) {
    const length = SECTOR_BYTES - ((offset + done) % SECTOR_BYTES);
    yield { kind: 'write', offset: offset + done, bytes: bytes.subarray(done, done + length) };
    done += length;
  }
}
