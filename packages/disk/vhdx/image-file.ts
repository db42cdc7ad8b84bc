/** The file of an image that is written: a raw disk that can grow. */
import { type FileHandle, open } from 'node:fs/promises';
import type { ByteRange, Extent, WritableDisk } from '../disk.ts';
import { createRawDisk, openWritableRawDisk } from '../raw.ts';
import { targetFailure } from '../target-failure.ts';

export interface ImageFile extends WritableDisk {
  /** Cuts the file, or makes it longer by zeroes. */
  resize(sizeBytes: number): Promise<void>;
}

/** Fails with `target-unwritable`. */
export async function openImageFile(path: string): Promise<ImageFile> {
  return await growing(path, await openWritableRawDisk(path));
}

/** Makes an empty file. Fails with `target-unwritable` when there is one. */
export async function createImageFile(path: string): Promise<ImageFile> {
  return await growing(path, await createRawDisk(path, 0));
}

async function growing(path: string, disk: WritableDisk): Promise<ImageFile> {
  try {
    return new GrowingFile(path, disk, await open(path, 'r+'));
  } catch (error) {
    await disk.close();
    throw targetFailure(path, error);
  }
}

class GrowingFile implements ImageFile {
  readonly #path: string;
  readonly #disk: WritableDisk;
  readonly #handle: FileHandle;
  #sizeBytes: number;

  constructor(path: string, disk: WritableDisk, handle: FileHandle) {
    this.#path = path;
    this.#disk = disk;
    this.#handle = handle;
    this.#sizeBytes = disk.sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async resize(sizeBytes: number): Promise<void> {
    try {
      await this.#handle.truncate(sizeBytes);
    } catch (error) {
      throw targetFailure(this.#path, error);
    }
    this.#sizeBytes = sizeBytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#disk.read(offset, target);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#disk.write(offset, bytes);
    this.#sizeBytes = Math.max(this.#sizeBytes, offset + bytes.length);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.#disk.zero(offset, length);
  }

  extents(range: ByteRange): Iterable<Extent> | AsyncIterable<Extent> {
    return this.#disk.extents(range);
  }

  async flush(): Promise<void> {
    try {
      await this.#disk.flush();
    } catch (error) {
      throw targetFailure(this.#path, error);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
    await this.#disk.close();
  }
}
