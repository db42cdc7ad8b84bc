/**
 * VHDX, the format of Hyper-V's disks ([MS-VHDX]): fixed, dynamic and differencing images, read and
 * written. An `.avhdx` is a differencing VHDX.
 */
import type { Random } from '@coffer/base';
import type { Disk, WritableDisk } from '../disk.ts';
import { openParents } from './chain.ts';
import { ChainedDisk } from './chained-disk.ts';
import { openImage } from './image.ts';
import { openImageFile } from './image-file.ts';
import { Layer } from './layer.ts';
import { openWritableIn } from './writable-disk.ts';

/**
 * Opens an image with its parents for reading. What its log holds is replayed in memory. Fails with
 * `source-not-found`, `source-unreadable`, `image-damaged`, `image-unsupported`,
 * `image-parent-missing`, `image-parent-changed` or `image-chain-cyclic`.
 */
export async function openVhdx(path: string): Promise<Disk> {
  const image = await openImage(path);
  try {
    const parents = await openParents(image);
    return new ChainedDisk([new Layer(image), ...parents.map((parent) => new Layer(parent))]);
  } catch (error) {
    await image.file.close();
    throw error;
  }
}

/**
 * Opens an existing image for writing; its parents are read. What its log holds is replayed into the
 * file. Its children, if there are any, lose their parent with the first write. Fails with
 * `target-unwritable`, or as `openVhdx` does.
 */
export async function openWritableVhdx(
  path: string,
  { random }: { readonly random: Random },
): Promise<WritableDisk> {
  return await openWritableIn(path, await openImageFile(path), random);
}
