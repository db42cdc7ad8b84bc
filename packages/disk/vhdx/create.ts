/** New images: fixed, dynamic, and differencing ones of a parent. */
import { rm } from 'node:fs/promises';
import type { Random } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { randomGuid } from '../guid-codec.ts';
import { openImage, readItems } from './image.ts';
import { createImageFile, type ImageFile } from './image-file.ts';
import { checkParameters, type DiskParameters, isKnownItem } from './metadata-codec.ts';
import { writeNewImage } from './new-image.ts';
import { encodeParentLocator } from './parent-locator-codec.ts';
import { windowsPaths } from './parent-path.ts';
import { MIB } from './sizes.ts';
import { openWritableIn } from './writable-disk.ts';

const BLOCK_SIZE_BYTES = 2 * MIB;
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

/**
 * Makes an image that reads as its parent does, until it is written to. From then on nothing may
 * write to the parent. Fails with `target-unwritable`, or as `openVhdx` of the parent does.
 */
export async function createDifferencingVhdx(
  path: string,
  parentPath: string,
  { random }: { readonly random: Random },
): Promise<WritableDisk> {
  const parent = await openImage(parentPath);
  try {
    const parameters: DiskParameters = {
      ...parent.metadata.parameters,
      blockSizeBytes: BLOCK_SIZE_BYTES,
      isFixed: false,
      isDifferencing: true,
    };
    const paths = windowsPaths(path, parentPath);
    const parentLocator = encodeParentLocator(parent.header.dataWriteGuid, paths);
    // 2.6.1.2: what belongs to the disk goes with it, known or not.
    const inherited = parent.items.filter((item) => item.isVirtualDisk && !isKnownItem(item));
    const items = await readItems(parent, inherited);
    return await createWith(path, random, async (file) => {
      await writeNewImage(path, file, { parameters, parentLocator }, items, random);
    });
  } finally {
    await parent.file.close();
  }
}

/** A file that could not be made an image is not left behind. */
async function createWith(
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
