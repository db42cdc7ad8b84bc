/**
 * Places for new blocks: at the end of the file, which grows by many at once. What is behind the old
 * end of a file reads as zeroes, so a new block does.
 */
import type { Semaphore } from '@coffer/base';
import type { ImageFile } from './image-file.ts';
import { ALIGNMENT_BYTES, MIB, roundUp } from './sizes.ts';

const GROWTH_BYTES = 32 * MIB;

export class BlockAllocator {
  readonly #file: ImageFile;
  readonly #growth: Semaphore;
  #end: number;

  /**
   * `endOffset` is the end of the last structure, which may be behind the end of the file: the last
   * block of a disk may be cut. `growth` is held while the file grows.
   */
  constructor(file: ImageFile, endOffset: number, growth: Semaphore) {
    this.#file = file;
    this.#growth = growth;
    this.#end = roundUp(Math.max(file.sizeBytes, endOffset), ALIGNMENT_BYTES);
  }

  /** The place of a block of zeroes, in bytes of the file. Fails as a write of the file does. */
  async allocate(length: number): Promise<number> {
    const offset = this.#end;
    const end = offset + length;
    this.#end = end;
    if (end > this.#file.sizeBytes) {
      await this.#growth.run(async () => {
        if (end > this.#file.sizeBytes) await this.#file.resize(end + GROWTH_BYTES);
      });
    }
    return offset;
  }

  /** Gives back what the file grew too much. Nothing is allocated any more. */
  async trim(): Promise<void> {
    if (this.#file.sizeBytes > this.#end) await this.#file.resize(this.#end);
  }
}
