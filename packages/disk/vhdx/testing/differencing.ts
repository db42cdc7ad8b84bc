/** Differencing images, which we read and write, and only tests make. */
import type { Random } from '@coffer/base';
import type { WritableDisk } from '../../disk.ts';
import { BLOCK_SIZE_BYTES, createWith } from '../create.ts';
import { openImage, readItems } from '../image.ts';
import { type DiskParameters, isKnownItem } from '../metadata-codec.ts';
import { writeNewImage } from '../new-image.ts';
import { encodeParentLocator } from '../parent-locator-codec.ts';
import { windowsPaths } from '../parent-path.ts';

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
