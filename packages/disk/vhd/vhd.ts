/**
 * Virtual hard disks (VHD) of Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0:
 * fixed, dynamic and differencing. QEMU names the format `vpc`.
 */
import type { Disk, WritableDisk } from '../disk.ts';
import { openWritableRawDisk } from '../raw.ts';
import { openBlockVhd } from './block-vhd.ts';
import { imageIn, openImage, openParents } from './chain.ts';
import { FixedVhd } from './fixed.ts';
import { visibleSizeBytes } from './footer-codec.ts';
import type { VhdImage } from './image.ts';
import { layerOf } from './layer.ts';
import { LayeredDisk } from './layered-disk.ts';

/**
 * Opens an image, and the parents of a differencing one, for reading. Fails with `source-not-found`,
 * `source-unreadable`, `image-damaged`, `image-unsupported`, `image-parent-missing`,
 * `image-parent-changed` or `image-chain-cyclic`.
 */
export async function openVhd(path: string): Promise<Disk> {
  const image = await openImage(path);
  const chain = [image, ...(await parentsOf(image))];
  return new LayeredDisk(chain.map(layerOf), visibleSizeBytes(image.footer));
}

/**
 * Opens an existing image for reading and writing; parents are only read. Writing to an image that
 * has children makes these worthless. Fails as `openVhd` does, and with `target-unwritable`.
 */
export async function openWritableVhd(path: string): Promise<WritableDisk> {
  const image = await imageIn(path, await openWritableRawDisk(path));
  if (!image.blocks) return new FixedVhd(image);
  const parents = await parentsOf(image);
  return await openBlockVhd(image, parents);
}

async function parentsOf(image: VhdImage): Promise<VhdImage[]> {
  try {
    return await openParents(image);
  } catch (error) {
    await image.file.close();
    throw error;
  }
}
