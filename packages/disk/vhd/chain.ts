/**
 * Chains of images: a differencing image and its parents, found and checked ("Implementing a
 * Differencing Hard Disk").
 *
 * A parent is looked for by its relative path, then by its absolute path, then by its name in the
 * folder of the child. It is the parent when its unique id is the one that the child names. The time
 * stamp that the child holds of its parent is not compared, as Hyper-V does not compare it: any copy
 * of the files changes it.
 */
import { stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CofferError, isCofferError } from '@coffer/base';
import type { Disk } from '../disk.ts';
import { openRawDisk } from '../raw.ts';
import { damaged, unsupported } from './damage.ts';
import type { DynamicHeader, ParentLocator } from './header-codec.ts';
import { readImage, type VhdImage } from './image.ts';
import {
  decodeParentPath,
  lastNameOf,
  localPathOf,
  PARENT_PATH_BYTES_MAX,
} from './parent-path-codec.ts';

/** More than any system makes; each image costs an open file, and its table in memory. */
const CHAIN_LENGTH_MAX = 128;

/** The parents of an image, the nearest first. Those that were opened are closed on failure. */
export async function openParents(child: VhdImage): Promise<VhdImage[]> {
  const seen = new Set<string>();
  const identity = await identityOf(child.path);
  if (identity !== undefined) seen.add(identity);
  const parents: VhdImage[] = [];
  try {
    for (let image = child; image.footer.type === 'differencing' && image.blocks;) {
      if (seen.size >= CHAIN_LENGTH_MAX) throw chainTooLong(child.path);
      image = await openParent(image, image.blocks.header, seen);
      parents.push(image);
    }
    return parents;
  } catch (error) {
    for (const { file } of parents) await file.close();
    throw error;
  }
}

/** Opens an image for reading. Fails as `openRawDisk` and `readImage` do. */
export async function openImage(path: string): Promise<VhdImage> {
  return await imageIn(path, await openRawDisk(path));
}

/** Reads the image in a file, and closes the file on failure. */
export async function imageIn<D extends Disk>(path: string, file: D): Promise<VhdImage<D>> {
  try {
    return await readImage(path, file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Adds the parent to `seen`. The first candidate that fails tells why, unless another fits. */
async function openParent(
  child: VhdImage,
  header: DynamicHeader,
  seen: Set<string>,
): Promise<VhdImage> {
  let failure: CofferError | undefined;
  for (const path of await candidatesOf(child, header)) {
    const identity = await identityOf(path);
    if (identity === undefined) continue;
    try {
      if (seen.has(identity)) {
        throw new CofferError('image-chain-cyclic', { path: child.path, parent: path });
      }
      const parent = await openNamed(path, child.path, header.parent.uniqueId);
      seen.add(identity);
      return parent;
    } catch (error) {
      if (!isCofferError(error)) throw error;
      failure ??= error;
    }
  }
  throw (
    failure ??
    new CofferError('image-parent-missing', { path: child.path, parent: header.parent.name })
  );
}

async function openNamed(path: string, childPath: string, uniqueId: Buffer): Promise<VhdImage> {
  const parent = await openImage(path);
  if (parent.footer.uniqueId.equals(uniqueId)) return parent;
  await parent.file.close();
  throw new CofferError('image-parent-changed', {
    path: childPath,
    parent: path,
    expectedId: uniqueId.toString('hex'),
    foundId: parent.footer.uniqueId.toString('hex'),
  });
}

async function candidatesOf(child: VhdImage, header: DynamicHeader): Promise<Set<string>> {
  const folder = dirname(child.path);
  const { locators, name } = header.parent;
  const relative = await pathsOf(child, locators, 'W2ru');
  const absolute = await pathsOf(child, locators, 'W2ku');
  const names = [...relative, ...absolute, name].map(lastNameOf).filter((text) => text !== '');
  return new Set([
    ...localPathsOf(relative).map((path) => resolve(folder, path)),
    ...localPathsOf(absolute).map((path) => resolve('/', path)),
    ...names.map((text) => join(folder, text)),
  ]);
}

function localPathsOf(windowsPaths: readonly string[]): string[] {
  return windowsPaths.map(localPathOf).filter((path): path is string => Boolean(path));
}

async function pathsOf(
  { path, file }: VhdImage,
  locators: readonly ParentLocator[],
  platform: string,
): Promise<string[]> {
  const paths: string[] = [];
  for (const { offset, length } of locators.filter((locator) => locator.platform === platform)) {
    const place = { path, structure: `parent locator ${platform}`, offset };
    if (offset > file.sizeBytes - length) throw damaged(place, 'it lies outside of the file');
    if (length > PARENT_PATH_BYTES_MAX) throw damaged(place, `a path of ${length} bytes`);
    const bytes = Buffer.alloc(length);
    await file.read(offset, bytes);
    paths.push(decodeParentPath(bytes));
  }
  return paths;
}

/** Undefined when there is no such file. What is no file is not opened: that could wait for ever. */
async function identityOf(path: string): Promise<string | undefined> {
  const stats = await stat(path, { bigint: true }).catch(() => undefined);
  return stats?.isFile() ? `${stats.dev}:${stats.ino}` : undefined;
}

function chainTooLong(path: string): CofferError {
  const place = { path, structure: 'chain', offset: 0 };
  return unsupported(place, `more than ${CHAIN_LENGTH_MAX} images`);
}
