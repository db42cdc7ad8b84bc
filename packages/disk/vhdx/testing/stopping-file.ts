/** The file of an image on a machine that stops after some writes and flushes. */
import { CofferError } from '@coffer/base';
import type { ByteRange, Extent } from '../../disk.ts';
import type { ImageFile } from '../image-file.ts';

export class StoppingFile implements ImageFile {
  readonly #file: ImageFile;
  #left: number;

  constructor(file: ImageFile, stepCount: number) {
    this.#file = file;
    this.#left = stepCount;
  }

  get sizeBytes(): number {
    return this.#file.sizeBytes;
  }

  get hasStopped(): boolean {
    return this.#left < 0;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#file.read(offset, target);
  }

  extents(range: ByteRange): Iterable<Extent> | AsyncIterable<Extent> {
    return this.#file.extents(range);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#step();
    await this.#file.write(offset, bytes);
  }

  async zero(offset: number, length: number): Promise<void> {
    this.#step();
    await this.#file.zero(offset, length);
  }

  async resize(sizeBytes: number): Promise<void> {
    this.#step();
    await this.#file.resize(sizeBytes);
  }

  /** Nothing is lost with the machine, so there is nothing to do. */
  async flush(): Promise<void> {
    this.#step();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #step(): void {
    this.#left--;
    if (this.#left < 0)
      throw new CofferError('target-unwritable', { reason: 'the machine stopped' });
  }
}
