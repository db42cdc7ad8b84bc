/** Differencing images, which we read and write, and only tests make. */
import { dirname, relative, resolve } from 'node:path';
import type { Random } from '@coffer/base';
import type { WritableDisk } from '../../disk.ts';
import { BLOCK_SIZE_BYTES, createWith } from '../create.ts';
import { openImage, readItems } from '../image.ts';
import { type DiskParameters, isKnownItem } from '../metadata-codec.ts';
import { writeNewImage } from '../new-image.ts';
import { encodeParentLocator } from '../parent-locator-codec.ts';

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

/** The paths of the parent as its child stores them (2.6.2.6.3); there are no drives here. */
export function windowsPaths(
  childPath: string,
  parentPath: string,
): { readonly relativePath: string; readonly absolutePath: string } {
  const path = relative(dirname(resolve(childPath)), resolve(parentPath)).replaceAll('/', '\\');
  const relativePath = path.startsWith('..\\') ? path : `.\\${path}`;
  const absolutePath = `\\\\?${resolve(parentPath).replaceAll('/', '\\')}`;
  return { relativePath, absolutePath };
}
