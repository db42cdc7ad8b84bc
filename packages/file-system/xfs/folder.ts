/** The names in a folder, block after block. */
import { damaged, Fields } from './fields.ts';
import { type FolderEntries, parseFolderBlock, parseSmallFolder } from './folder-codec.ts';
import { extentsOf, readFork } from './fork.ts';
import type { Fork, Inode } from './inode-codec.ts';
import type { Volume } from './volume.ts';

/** Above this offset a folder has its index, which is another way to the same names. */
const NAMES_BYTES_MAX = 32 * 1024 ** 3;
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
  const blocksEnd = NAMES_BYTES_MAX / blockBytes;
  let rest = Math.ceil(blockCount / blocksEach);
  let next = 0;
  for await (const extent of extentsOf(volume, fork, 0, blocksEnd)) {
    const end = Math.min(extent.start + extent.count, blocksEnd);
    next = Math.max(next, Math.floor(extent.start / blocksEach));
    for (; next * blocksEach < end; next++) {
      const offset = next * folderBlockBytes;
      if (rest-- === 0) throw damaged(`folder ${number}`, offset, 'it is larger than the volume');
      const bytes = Buffer.allocUnsafe(folderBlockBytes);
      await readFork(volume, fork, offset, bytes);
      yield new Fields(bytes, `folder ${number}`, offset);
    }
  }
}
