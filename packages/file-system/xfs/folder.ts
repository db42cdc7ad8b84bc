/** The names in a folder, block after block. */
import { isCofferError } from '@coffer/base';
import { damaged, Fields } from './fields.ts';
import {
  type FolderEntries,
  type FolderEntry,
  parseFolderBlock,
  parseSmallFolder,
} from './folder-codec.ts';
import { findOffsets, INDEX_OFFSET } from './folder-index.ts';
import { extentsOf, readFork } from './fork.ts';
import type { Fork, Inode } from './inode-codec.ts';
import type { Volume } from './volume.ts';

const PARENT = Buffer.from('..');
const SELF = Buffer.from('.');

/**
 * The names, without `.` and `..`, some at once. Fails with `file-system-damaged` unless the folder
 * says that `parent` is its parent: a folder is reached by one way only, so that walks end.
 */
export async function* namesIn(
  volume: Volume,
  folder: Inode,
  parent: bigint,
): AsyncIterable<FolderEntries> {
  let isFirst = true;
  for await (const entries of entriesOf(volume, folder)) {
    if (isFirst) requireParent(folder, entries, parent);
    isFirst = false;
    yield entries.filter(({ name }) => !name.equals(SELF) && !name.equals(PARENT));
  }
  if (isFirst) throw damaged(`folder ${folder.number}`, folder.offset, 'it has no blocks');
}

/** Large folders are read by their index, and whole when that is damaged. Fails as `namesIn`. */
export async function findName(
  volume: Volume,
  folder: Inode,
  parent: bigint,
  name: Buffer,
): Promise<FolderEntry | undefined> {
  const { folderBlockBytes, hashesLowerCase } = volume.geometry;
  let hasIndex = folder.sizeBytes > folderBlockBytes && !hashesLowerCase;
  for await (const entries of namesIn(volume, folder, parent)) {
    const found = entries.find((entry) => entry.name.equals(name));
    if (found) return found;
    if (!hasIndex) continue;
    hasIndex = false;
    try {
      return await findByIndex(volume, folder, name);
    } catch (error) {
      if (!isCofferError(error, 'file-system-damaged')) throw error;
    }
  }
  return undefined;
}

async function findByIndex(
  volume: Volume,
  { data, number }: Inode,
  name: Buffer,
): Promise<FolderEntry | undefined> {
  const { folderBlockBytes } = volume.geometry;
  if (!data) return undefined;
  for (const offset of await findOffsets(volume, data, number, name)) {
    const blockIndex = Math.floor(offset / folderBlockBytes);
    const block = await readFolderBlock(volume, data, number, blockIndex);
    const entries = parseFolderBlock(block, volume.geometry, number);
    const found = entries.find((entry) => entry.name.equals(name));
    if (found) return found;
  }
  return undefined;
}

function requireParent(folder: Inode, entries: FolderEntries, parent: bigint): void {
  const found = entries.find(({ name }) => name.equals(PARENT))?.inode;
  if (found === parent) return;
  throw damaged(`folder ${folder.number}`, folder.offset, `it is in ${found}, not in ${parent}`);
}

async function* entriesOf(volume: Volume, folder: Inode): AsyncIterable<FolderEntries> {
  const { data, number, offset } = folder;
  if (!data) throw damaged(`folder ${number}`, offset, 'it has no content');
  if (data.format === 'local') {
    yield parseSmallFolder(data.bytes, volume.geometry);
    return;
  }
  for await (const block of blocksOf(volume, data, number)) {
    yield parseFolderBlock(block, volume.geometry, number);
  }
}

/** A block of a folder may be several of the volume, of more than one extent. */
async function* blocksOf(volume: Volume, fork: Fork, number: bigint): AsyncIterable<Fields> {
  const { blockBytes, folderBlockBytes, blockCount } = volume.geometry;
  const blocksEach = folderBlockBytes / blockBytes;
  const blocksEnd = INDEX_OFFSET / blockBytes;
  let rest = Math.ceil(blockCount / blocksEach);
  let next = 0;
  for await (const extent of extentsOf(volume, fork, 0, blocksEnd)) {
    const end = Math.min(extent.start + extent.count, blocksEnd);
    next = Math.max(next, Math.floor(extent.start / blocksEach));
    for (; next * blocksEach < end; next++) {
      if (rest-- === 0) throw damaged(`folder ${number}`, 0, 'it is larger than the volume');
      yield await readFolderBlock(volume, fork, number, next);
    }
  }
}

async function readFolderBlock(
  volume: Volume,
  fork: Fork,
  number: bigint,
  blockIndex: number,
): Promise<Fields> {
  const { folderBlockBytes } = volume.geometry;
  const offset = blockIndex * folderBlockBytes;
  const bytes = Buffer.allocUnsafe(folderBlockBytes);
  await readFork(volume, fork, offset, bytes);
  return new Fields(bytes, `folder ${number}`, offset);
}
