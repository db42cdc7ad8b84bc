/**
 * Reading of ext2, ext3 and ext4 volumes: nothing is written, and the journal of a volume that was
 * not unmounted is replayed in memory. Checksums are verified where the volume has them.
 */
import { CofferError, type FileMetadata, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import { readAttributes } from './attributes.ts';
import { readContent } from './content.ts';
import type { DirectoryEntry } from './directory-codec.ts';
import { folderEntries } from './folder.ts';
import { deviceNumberOf, type Inode } from './inode-codec.ts';
import { replayed } from './journal.ts';
import { readLink } from './link.ts';
import {
  parseSuperblock,
  type Superblock,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET,
} from './superblock-codec.ts';
import { Ext4Volume } from './volume.ts';

export interface Ext4Node extends FileMetadata {
  readonly content: Inode;
  /** Undefined for the root. */
  readonly parent: Ext4Node | undefined;
}

const ROOT_INODE = 2;

/**
 * Opens the volume. Fails with `file-system-damaged`, and with `file-system-unsupported` when the
 * volume has features that are not understood. Many small reads are made: give it a cached disk.
 */
export async function openExt4(disk: Disk): Promise<FileSystem<Ext4Node>> {
  const stored = new Ext4Volume(disk, await readSuperblock(disk));
  const current = await replayed(stored);
  const superblock = current === disk ? stored.superblock : await readSuperblock(current);
  const volume = new Ext4Volume(current, superblock);
  const root = await readNode(volume, { name: Buffer.alloc(0), inode: ROOT_INODE }, undefined);
  if (root.type !== 'directory') {
    throw new CofferError('file-system-damaged', { structure: 'ext4 root', inode: ROOT_INODE });
  }
  return new Ext4(volume, root);
}

class Ext4 implements FileSystem<Ext4Node> {
  readonly root: Ext4Node;
  readonly #volume: Ext4Volume;

  constructor(volume: Ext4Volume, root: Ext4Node) {
    this.#volume = volume;
    this.root = root;
  }

  /** Where an inode is damaged, all others are given first, and then it is told. */
  async *entries(folder: Ext4Node): AsyncIterable<Ext4Node> {
    let damage: CofferError | undefined;
    for await (const entry of folderEntries(this.#volume, folder.content)) {
      try {
        yield await readNode(this.#volume, entry, folder);
      } catch (error) {
        if (!isCofferError(error)) throw error;
        damage ??= error;
      }
    }
    if (damage) throw damage;
  }

  async find(folder: Ext4Node, name: Buffer): Promise<Ext4Node | undefined> {
    for await (const entry of folderEntries(this.#volume, folder.content)) {
      if (entry.name.equals(name)) return await readNode(this.#volume, entry, folder);
    }
    return undefined;
  }

  async read(file: Ext4Node, offset: number, target: Uint8Array): Promise<number> {
    return await readContent(this.#volume, file.content, offset, target);
  }

  async close(): Promise<void> {
    await this.#volume.disk.close();
  }
}

async function readSuperblock(disk: Disk): Promise<Superblock> {
  if (disk.sizeBytes < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES) {
    const details = { structure: 'ext4 superblock', sizeBytes: disk.sizeBytes };
    throw new CofferError('file-system-damaged', details);
  }
  const bytes = Buffer.alloc(SUPERBLOCK_BYTES);
  await disk.read(SUPERBLOCK_OFFSET, bytes);
  return parseSuperblock(bytes);
}

async function readNode(
  volume: Ext4Volume,
  entry: DirectoryEntry,
  parent: Ext4Node | undefined,
): Promise<Ext4Node> {
  if (isWithin(parent, entry)) {
    const details = { structure: 'ext4 folder', reason: 'holds itself', inode: entry.inode };
    throw new CofferError('file-system-damaged', details);
  }
  const inode = await volume.readInode(entry.inode);
  const { type } = inode;
  const isDevice = type === 'character-device' || type === 'block-device';
  const isShared = type !== 'directory' && inode.linkCount > 1;
  return {
    name: Buffer.from(entry.name),
    type,
    mode: inode.mode,
    userId: inode.userId,
    groupId: inode.groupId,
    modifiedNs: inode.modifiedNs,
    changedNs: inode.changedNs,
    inode: BigInt(inode.number),
    sizeBytes: type === 'file' ? inode.sizeBytes : 0,
    hardLink: isShared ? { device: 0n, inode: BigInt(inode.number) } : undefined,
    linkTarget: type === 'symlink' ? await readLink(volume, inode) : undefined,
    deviceNumber: isDevice ? deviceNumberOf(inode) : undefined,
    extendedAttributes: await readAttributes(volume, inode),
    content: inode,
    parent,
  };
}

/** True for a folder that would hold itself. */
function isWithin(parent: Ext4Node | undefined, entry: DirectoryEntry): boolean {
  for (let above = parent; above; above = above.parent) {
    if (above.content.number === entry.inode) return true;
  }
  return false;
}
