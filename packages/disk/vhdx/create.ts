/** New images: fixed and dynamic. */
import { rm } from 'node:fs/promises';
import type { Random } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { randomGuid } from '../guid-codec.ts';
import { createImageFile, type ImageFile } from './image-file.ts';
import { checkParameters, type DiskParameters } from './metadata-codec.ts';
import { writeNewImage } from './new-image.ts';
import { MIB } from './sizes.ts';
import { openWritableIn } from './writable-disk.ts';

export const BLOCK_SIZE_BYTES = 2 * MIB;
const PHYSICAL_SECTOR_BYTES = 4096;

export interface VhdxOptions {
  /** A multiple of the sector size, at most 64 TB. */
  readonly sizeBytes: number;
  readonly subformat: 'fixed' | 'dynamic';
  /** A power of two from 1 MiB to 256 MiB; 2 MiB by default. */
  readonly blockSizeBytes?: number;
  /** 512, the default, or 4096. */
  readonly logicalSectorSizeBytes?: number;
  readonly random: Random;
}

/**
 * Makes an image of zeroes. Fails with `target-unwritable` when there is a file, and with
 * `image-unsupported` when the format has no such disk.
 */
export async function createVhdx(path: string, options: VhdxOptions): Promise<WritableDisk> {
  const { sizeBytes, subformat, random } = options;
  const parameters: DiskParameters = {
    sizeBytes,
    blockSizeBytes: options.blockSizeBytes ?? BLOCK_SIZE_BYTES,
    logicalSectorBytes: options.logicalSectorSizeBytes ?? 512,
    physicalSectorBytes: PHYSICAL_SECTOR_BYTES,
    diskId: randomGuid(random),
    isFixed: subformat === 'fixed',
    isDifferencing: false,
  };
  checkParameters(parameters, path);
  return await createWith(path, random, async (file) => {
    await writeNewImage(path, file, { parameters, parentLocator: undefined }, [], random);
  });
}

/** A file that could not be made an image is not left behind. */
export async function createWith(
  path: string,
  random: Random,
  write: (file: ImageFile) => Promise<void>,
): Promise<WritableDisk> {
  const file = await createImageFile(path);
  try {
    await write(file);
  } catch (error) {
    await file.close();
    await rm(path, { force: true });
    throw error;
  }
  return await openWritableIn(path, file, random);
}
