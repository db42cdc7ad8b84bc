/** Fixed images: the disk as it is, and a footer behind it ("Fixed Hard Disk Image"). */
import { assert, CofferError } from '@coffer/base';
import { type ByteRange, type Extent, wholeOf, type WritableDisk } from '../disk.ts';
import { visibleSizeBytes } from './footer-codec.ts';
import type { VhdImage } from './image.ts';

export class FixedVhd implements WritableDisk {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #file: WritableDisk;

  constructor({ path, file, footer }: VhdImage<WritableDisk>) {
    this.#path = path;
    this.#file = file;
    this.sizeBytes = visibleSizeBytes(footer);
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.sizeBytes) {
      throw new CofferError('source-changed', { path: this.#path, endsAt: this.sizeBytes });
    }
    await this.#file.read(offset, target);
  }

  extents(range: ByteRange = wholeOf(this)): Iterable<Extent> | AsyncIterable<Extent> {
    return this.#file.extents(range);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    assert(offset + bytes.length <= this.sizeBytes, 'nothing is written over the footer');
    await this.#file.write(offset, bytes);
  }

  async zero(offset: number, length: number): Promise<void> {
    assert(offset + length <= this.sizeBytes, 'nothing is written over the footer');
    await this.#file.zero(offset, length);
  }

  async flush(): Promise<void> {
    await this.#file.flush();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
