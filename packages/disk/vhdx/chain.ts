/**
 * Chains of images: a differencing image and its parents, found by their locators and checked
 * ([MS-VHDX] 2.6.2.6.3). A parent that was written to after the child was made has another
 * DataWriteGuid than the child names, and the child means nothing any more.
 */
import { stat } from 'node:fs/promises';
import { CofferError, isCofferError, required } from '@coffer/base';
import { damaged, type Place, unsupported } from './damage.ts';
import { openImage, type VhdxImage } from './image.ts';
import { decodeParentLocator, type ParentLocator } from './parent-locator-codec.ts';
import { parentCandidates } from './parent-path.ts';

/** Each image costs an open file, and up to 4 MiB of its tables in memory. */
const CHAIN_LENGTH_MAX = 1024;

/**
 * The parents of an image, the nearest first. Those that were opened are closed on failure. Fails
 * with `image-parent-missing`, `image-parent-changed` or `image-chain-cyclic`, or as `openImage` does.
 */
export async function openParents(child: VhdxImage): Promise<VhdxImage[]> {
  const seen = new Set<string | undefined>([await identityOf(child.path)]);
  const parents: VhdxImage[] = [];
  try {
    for (let image = child; image.metadata.parentLocator;) {
      if (parents.length >= CHAIN_LENGTH_MAX) {
        throw unsupported(placeOf(image), `more than ${CHAIN_LENGTH_MAX} parents`);
      }
      image = await openParent(image, seen);
      parents.push(image);
    }
    return parents;
  } catch (error) {
    for (const { file } of parents) await file.close();
    throw error;
  }
}

/** Adds the parent to `seen`. The first candidate that fails tells why, unless another one fits. */
async function openParent(child: VhdxImage, seen: Set<string | undefined>): Promise<VhdxImage> {
  const bytes = required(child.metadata.parentLocator, 'a differencing image has a locator');
  const locator = decodeParentLocator(bytes, placeOf(child));
  let failure: CofferError | undefined;
  for (const path of parentCandidates(child.path, locator)) {
    const identity = await identityOf(path);
    if (identity === undefined) continue;
    try {
      if (seen.has(identity)) {
        throw new CofferError('image-chain-cyclic', { path: child.path, parent: path });
      }
      const parent = await openLinked(path, child, locator);
      seen.add(identity);
      return parent;
    } catch (error) {
      if (!isCofferError(error)) throw error;
      failure ??= error;
    }
  }
  throw failure ?? missing(child.path, locator);
}

async function openLinked(
  path: string,
  child: VhdxImage,
  { linkages }: ParentLocator,
): Promise<VhdxImage> {
  const parent = await openImage(path);
  try {
    const found = parent.header.dataWriteGuid;
    if (!linkages.includes(found)) {
      const expected = linkages.join(' or ');
      const details = { path: child.path, parent: path, expected, found };
      throw new CofferError('image-parent-changed', details);
    }
    const { logicalSectorBytes } = parent.metadata.parameters;
    if (logicalSectorBytes !== child.metadata.parameters.logicalSectorBytes) {
      throw damaged(placeOf(child), `the parent has sectors of ${logicalSectorBytes} bytes`);
    }
    return parent;
  } catch (error) {
    await parent.file.close();
    throw error;
  }
}

/** Undefined when there is no such file. What is no file is not opened: that could wait for ever. */
async function identityOf(path: string): Promise<string | undefined> {
  const stats = await stat(path, { bigint: true }).catch(() => undefined);
  return stats?.isFile() ? `${stats.dev}:${stats.ino}` : undefined;
}

function missing(path: string, { relativePath, absolutePath }: ParentLocator): CofferError {
  return new CofferError('image-parent-missing', { path, parent: relativePath ?? absolutePath });
}

function placeOf({ path, regions }: VhdxImage): Place {
  return { path, structure: 'parent locator', offset: regions.metadata.offset };
}
