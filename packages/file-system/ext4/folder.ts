/** The names in a folder of ext4, read from its start to its end. */
import { CofferError } from '@coffer/base';
import { blockRuns } from './block-map.ts';
import { inlineParts } from './content.ts';
import {
  type DirectoryEntry,
  isDirectoryBlockWhole,
  parseDirectoryBlock,
} from './directory-codec.ts';
import type { Inode } from './inode-codec.ts';
import type { Ext4Volume } from './volume.ts';

/** In an inode, the number of the parent stands before the names. */
const INLINE_PARENT_BYTES = 4;
/** Linux makes none above 2 GiB, but with the feature for large folders. */
const FOLDER_BYTES_MAX = 4 * 1024 ** 3;

/** Fails with `file-system-damaged`; `file-system-unsupported` when the names are encrypted. */
export async function* folderEntries(
  volume: Ext4Volume,
  folder: Inode,
): AsyncIterable<DirectoryEntry> {
  if (folder.isEncrypted) {
    const details = { structure: 'ext4 encryption', inode: folder.number };
    throw new CofferError('file-system-unsupported', details);
  }
  if (folder.form === 'inline') yield* inlineEntries(volume, folder);
  else yield* blockEntries(volume, folder);
}

function* inlineEntries(volume: Ext4Volume, folder: Inode): Iterable<DirectoryEntry> {
  const [first, second] = inlineParts(folder);
  yield* parseDirectoryBlock(first.subarray(INLINE_PARENT_BYTES), volume.superblock);
  yield* parseDirectoryBlock(second, volume.superblock);
}

async function* blockEntries(volume: Ext4Volume, folder: Inode): AsyncIterable<DirectoryEntry> {
  const { blockBytes, hasChecksums } = volume.superblock;
  const end = Math.ceil(folder.sizeBytes / blockBytes);
  // Blocks that are named again and again would make a folder without an end.
  const bytesMax = Math.min(FOLDER_BYTES_MAX, volume.disk.sizeBytes);
  if (end * blockBytes > bytesMax) throw damaged(folder, 'size');
  for await (const run of blockRuns(volume, folder, { first: 0, end })) {
    for (let index = 0; index < run.count && run.fileBlock + index < end; index++) {
      if (run.blockIndex === undefined) break;
      const bytes = await volume.readBlock(run.blockIndex + index, 'ext4 folder');
      if (hasChecksums && !isDirectoryBlockWhole(bytes, folder.checksumSeed)) {
        throw damaged(folder, 'checksum', run.blockIndex + index);
      }
      yield* parseDirectoryBlock(bytes, volume.superblock);
    }
  }
}

function damaged(folder: Inode, reason: string, blockIndex?: number): CofferError {
  const details = { structure: 'ext4 folder', inode: folder.number, reason, blockIndex };
  return new CofferError('file-system-damaged', details);
}
