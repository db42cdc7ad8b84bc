/** Blocks and inodes of an ext4 volume: what all its structures are made of. */
import { CofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { type Inode, parseInode } from './inode-codec.ts';
import { descriptorBlock, parseDescriptor, type Superblock } from './superblock-codec.ts';

export class Ext4Volume {
  readonly disk: Disk;
  readonly superblock: Superblock;

  constructor(disk: Disk, superblock: Superblock) {
    this.disk = disk;
    this.superblock = superblock;
  }

  /** Fails with `file-system-damaged` when there is no such block. */
  async readBlock(blockIndex: number, structure: string): Promise<Buffer> {
    const { blockBytes } = this.superblock;
    this.requireBlocks(blockIndex, 1, structure);
    const bytes = Buffer.allocUnsafe(blockBytes);
    await this.disk.read(blockIndex * blockBytes, bytes);
    return bytes;
  }

  /** States that blocks are of the volume, and not where the superblock is. */
  requireBlocks(blockIndex: number, count: number, structure: string): void {
    const { blockCount, firstDataBlock } = this.superblock;
    if (blockIndex > firstDataBlock && blockIndex + count <= blockCount) return;
    throw new CofferError('file-system-damaged', { structure, blockIndex, blockCount: count });
  }

  /** Fails with `file-system-damaged` when there is no such inode, or it is not in use. */
  async readInode(number: number): Promise<Inode> {
    const { inodeCount, inodesPerGroup, inodeBytes, blockBytes } = this.superblock;
    if (number < 1 || number > inodeCount) {
      throw new CofferError('file-system-damaged', { structure: 'ext4 inode', inode: number });
    }
    const group = Math.floor((number - 1) / inodesPerGroup);
    const offset = ((number - 1) % inodesPerGroup) * inodeBytes;
    const { inodeTableBlock } = await this.#readDescriptor(group);
    const blockIndex = inodeTableBlock + Math.floor(offset / blockBytes);
    this.requireBlocks(blockIndex, 1, 'ext4 inode table');
    const bytes = Buffer.allocUnsafe(inodeBytes);
    await this.disk.read(blockIndex * blockBytes + (offset % blockBytes), bytes);
    return parseInode(this.superblock, number, bytes);
  }

  async #readDescriptor(group: number): Promise<{ inodeTableBlock: number }> {
    const { blockBytes, descriptorBytes } = this.superblock;
    const block = descriptorBlock(this.superblock, group);
    const offset = (group % (blockBytes / descriptorBytes)) * descriptorBytes;
    const bytes = Buffer.allocUnsafe(descriptorBytes);
    await this.disk.read(block * blockBytes + offset, bytes);
    return parseDescriptor(this.superblock, group, bytes);
  }
}
