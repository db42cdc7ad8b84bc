/** Targets of symbolic links of ext4. */
import { CofferError } from '@coffer/base';
import { linkTarget } from '../link-target.ts';
import { readContent } from './content.ts';
import { type Inode, MAP_BYTES } from './inode-codec.ts';
import type { Ext4Volume } from './volume.ts';

/** What Linux takes as the longest path. */
const LINK_BYTES_MAX = 4096;
/** An inode counts what is allotted to it in sectors. */
const SECTOR_BYTES = 512;

/** Fails with `file-system-damaged`, and with `file-system-unsupported` for an encrypted target. */
export async function readLink(volume: Ext4Volume, inode: Inode): Promise<Buffer> {
  const { sizeBytes, number } = inode;
  if (sizeBytes === 0 || sizeBytes > LINK_BYTES_MAX) throw damaged(number);
  const bytes = Buffer.alloc(sizeBytes);
  if (isFast(volume, inode)) inode.map.copy(bytes);
  else await readContent(volume, inode, 0, bytes);
  const target = linkTarget(bytes);
  if (!target) throw damaged(number);
  return target;
}

/**
 * Whether the target lies where the block map would be. Linux goes by what is allotted to the link,
 * and by the length only where its attributes can have inodes, which are counted as well.
 */
function isFast({ superblock }: Ext4Volume, inode: Inode): boolean {
  if (inode.isEncrypted || inode.form === 'inline' || inode.sizeBytes >= MAP_BYTES) return false;
  if (superblock.hasAttributeInodes) return true;
  const attributeBytes = inode.attributeBlock === 0 ? 0 : superblock.clusterBytes;
  return inode.allottedCount * SECTOR_BYTES === attributeBytes;
}

function damaged(inode: number): CofferError {
  return new CofferError('file-system-damaged', { structure: 'ext4 symbolic link', inode });
}
