/** The extended attributes of an inode, as Linux gives them. */
import { CofferError, type ExtendedAttribute } from '@coffer/base';
import { givenAcl } from './acl-codec.ts';
import {
  isAcl,
  isAttributeBlockWhole,
  parseAttributeBlock,
  parseInodeAttributes,
  shownName,
  type StoredAttribute,
} from './attributes-codec.ts';
import { readContent } from './content.ts';
import type { Inode } from './inode-codec.ts';
import type { Ext4Volume } from './volume.ts';

/** Sorted by name. Fails with `file-system-damaged`. */
export async function readAttributes(
  volume: Ext4Volume,
  inode: Inode,
): Promise<ExtendedAttribute[]> {
  const stored = parseInodeAttributes(inode.attributes);
  if (inode.attributeBlock !== 0) stored.push(...(await readBlock(volume, inode.attributeBlock)));
  const found: ExtendedAttribute[] = [];
  for (const attribute of stored) {
    const name = shownName(attribute);
    if (!name) continue;
    const value = await valueOf(volume, attribute);
    found.push({ name, value: isAcl(attribute) ? givenAcl(value) : value });
  }
  return found.sort((a, b) => a.name.compare(b.name));
}

async function readBlock(volume: Ext4Volume, blockIndex: number): Promise<StoredAttribute[]> {
  const bytes = await volume.readBlock(blockIndex, 'ext4 attributes');
  const { hasChecksums, checksumSeed } = volume.superblock;
  if (hasChecksums && !isAttributeBlockWhole(bytes, checksumSeed, blockIndex)) {
    const details = { structure: 'ext4 attributes', reason: 'checksum', blockIndex };
    throw new CofferError('file-system-damaged', details);
  }
  return parseAttributeBlock(bytes);
}

/** A copy; values that are too large for the block have an inode (EA_INODE). */
async function valueOf(
  volume: Ext4Volume,
  { value, valueInode, valueBytes }: StoredAttribute,
): Promise<Buffer> {
  if (valueInode === 0) return Buffer.from(value);
  const bytes = Buffer.alloc(valueBytes);
  const inode = await volume.readInode(valueInode);
  const length = await readContent(volume, inode, 0, bytes);
  if (length === valueBytes) return bytes;
  const details = { structure: 'ext4 attribute value', inode: valueInode };
  throw new CofferError('file-system-damaged', details);
}
