/** Differencing images, which we read and write, and only tests make. */
import { stat } from 'node:fs/promises';
import { basename, dirname, relative, resolve } from 'node:path';
import type { WritableDisk } from '../../disk.ts';
import { openImage, openParents } from '../chain.ts';
import { createBlocks, type Link, newFooter, type Sources } from '../create.ts';
import { unsupported } from '../damage.ts';
import { visibleSizeBytes } from '../footer-codec.ts';
import type { ParentLink } from '../header-codec.ts';
import type { VhdImage } from '../image.ts';
import { encodeParentPath, windowsPathOf } from '../parent-path-codec.ts';
import { alignUp, BLOCK_BYTES_DEFAULT, SECTOR_BYTES } from '../sizes.ts';

/**
 * Makes an image that reads as its parent, which must not be written to from then on. It is of the
 * size of the parent, and of its blocks where it has some. Fails as `openVhd` does for the parent,
 * and as `createVhd` does.
 */
export async function createDifferencingVhd(
  path: string,
  parentPath: string,
  sources: Sources,
): Promise<WritableDisk> {
  const parent = await openImage(parentPath);
  const parents = [parent];
  try {
    parents.push(...(await openParents(parent)));
    const footer = newFooter('differencing', visibleSizeBytes(parent.footer), sources);
    const blockSizeBytes = parent.blocks?.header.blockSizeBytes ?? BLOCK_BYTES_DEFAULT;
    const link = await linkTo(parent, path);
    return await createBlocks(path, { footer, blockSizeBytes, parents, link });
  } catch (error) {
    for (const { file } of parents) await file.close();
    throw error;
  }
}

async function linkTo(parent: VhdImage, childPath: string): Promise<Link> {
  const absolute = resolve(parent.path);
  if (absolute.includes('\\')) {
    const place = { path: childPath, structure: 'parent locator', offset: 0 };
    throw unsupported(place, 'a path to the parent with a backslash in it');
  }
  const relativePath = encodeParentPath(
    windowsPathOf(relative(dirname(resolve(childPath)), absolute)),
  );
  const absolutePath = encodeParentPath(windowsPathOf(absolute));
  const absoluteAt = alignUp(relativePath.length, SECTOR_BYTES);
  const paths = Buffer.alloc(absoluteAt + alignUp(absolutePath.length, SECTOR_BYTES));
  relativePath.copy(paths);
  absolutePath.copy(paths, absoluteAt);
  const { mtimeMs } = await stat(absolute);
  return {
    paths,
    parent: (pathsOffset) => ({
      uniqueId: parent.footer.uniqueId,
      modifiedAtMs: mtimeMs,
      name: basename(absolute),
      locators: [
        locator('W2ru', pathsOffset, relativePath.length),
        locator('W2ku', pathsOffset + absoluteAt, absolutePath.length),
      ],
    }),
  };
}

function locator(platform: string, offset: number, length: number): ParentLink['locators'][number] {
  return { platform, offset, length, sectorCount: Math.ceil(length / SECTOR_BYTES) };
}
