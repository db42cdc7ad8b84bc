/**
 * Reading of btrfs volumes on one device: nothing is written. The root is that of the top-level
 * subvolume; all others, snapshots and the default one among them, are folders in it.
 *
 * What the volume has is what it had at its last commit: files that programs have forced to disk
 * since then are in the log tree, which is not replayed.
 */
import {
  CofferError,
  type ExtendedAttribute,
  type FileMetadata,
  isCofferError,
  isFileName,
} from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import { linkTarget } from '../link-target.ts';
import { nameHash } from './checksum-codec.ts';
import { ChunkMap, parseChunk, parseSystemChunks } from './chunk-codec.ts';
import { ContentReader } from './content.ts';
import { damaged, type Fields } from './fields.ts';
import { type Inode, type NamedItem, parseInode, parseNamed } from './item-codec.ts';
import { ITEM, type Key, keysOf } from './key-codec.ts';
import { findSubvolume, type Subvolume, TOP_LEVEL } from './subvolume.ts';
import {
  findSuperblock,
  parseSuperblock,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSETS,
} from './superblock-codec.ts';
import { BtrfsVolume } from './volume.ts';

export interface BtrfsNode extends FileMetadata {
  readonly subvolume: Subvolume;
  readonly objectId: bigint;
  /** Undefined for the root. */
  readonly parent: BtrfsNode | undefined;
  /** A subvolume that this snapshot does not have: a folder with nothing in it. */
  readonly isEmpty: boolean;
}

/** The root folder of each subvolume. */
const ROOT_FOLDER = 256n;
/** `BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`. */
const EMPTY_FOLDER = 2n;
/** Where all chunks are in the chunk tree (`BTRFS_FIRST_CHUNK_TREE_OBJECTID`). */
const CHUNKS = 256n;
/** 64 MiB of descriptions, of 1 GiB each usually. */
const CHUNK_COUNT_MAX = 1_000_000;
/** What Linux takes as the longest path. */
const LINK_BYTES_MAX = 4096;

/**
 * Opens the volume. Fails with `file-system-damaged`, and with `file-system-unsupported` when it is
 * on several devices or has features that are not understood. Many small reads are made: give it a
 * cached disk. Closing it closes the disk.
 */
export async function openBtrfs(disk: Disk): Promise<FileSystem<BtrfsNode>> {
  const superblock = parseSuperblock(await readSuperblock(disk));
  const { deviceId, systemChunks, chunkTree, rootTree } = superblock;
  const system = parseSystemChunks(systemChunks, deviceId);
  const starting = new BtrfsVolume(disk, superblock, new ChunkMap(system));
  const chunks = [];
  for await (const { key, body } of starting.items(chunkTree, ...keysOf(CHUNKS, ITEM.chunk))) {
    chunks.push(parseChunk(key, body, deviceId));
    if (chunks.length > CHUNK_COUNT_MAX) throw damaged('chunk tree', chunkTree.address, 'size');
  }
  const volume = new BtrfsVolume(disk, superblock, new ChunkMap(chunks));
  const top = await findSubvolume(volume, TOP_LEVEL);
  if (!top) throw damaged('root tree', rootTree.address, 'it has no top-level subvolume');
  const reader = new NodeReader(volume);
  const place = { subvolume: top, objectId: ROOT_FOLDER, parent: undefined };
  const root = await reader.read(Buffer.alloc(0), place);
  if (root.type !== 'directory') throw damaged('root folder', rootTree.address, root.type);
  return new Btrfs(volume, reader, root);
}

/** The first that is whole: the others may be those of a file system that was there before. */
async function readSuperblock(disk: Disk): Promise<Fields> {
  for (const offset of SUPERBLOCK_OFFSETS) {
    if (offset + SUPERBLOCK_BYTES > disk.sizeBytes) break;
    const bytes = Buffer.alloc(SUPERBLOCK_BYTES);
    await disk.read(offset, bytes);
    const found = findSuperblock(bytes, offset);
    if (found) return found;
  }
  throw damaged('superblock', SUPERBLOCK_OFFSETS[0], 'none of its copies is whole');
}

class Btrfs implements FileSystem<BtrfsNode> {
  readonly root: BtrfsNode;
  readonly #volume: BtrfsVolume;
  readonly #reader: NodeReader;

  constructor(volume: BtrfsVolume, reader: NodeReader, root: BtrfsNode) {
    this.#volume = volume;
    this.#reader = reader;
    this.root = root;
  }

  /** Where an inode is damaged, all others are given first, and then it is told. */
  async *entries(folder: BtrfsNode): AsyncIterable<BtrfsNode> {
    let damage: CofferError | undefined;
    for await (const entry of this.#names(folder, ...keysOf(folder.objectId, ITEM.nameIndex))) {
      try {
        yield await this.#reader.resolve(folder, entry);
      } catch (error) {
        if (!isCofferError(error)) throw error;
        damage ??= error;
      }
    }
    if (damage) throw damage;
  }

  async find(folder: BtrfsNode, name: Buffer): Promise<BtrfsNode | undefined> {
    const key = { objectId: folder.objectId, type: ITEM.name, offset: nameHash(name) };
    for await (const entry of this.#names(folder, key, key)) {
      if (entry.name.equals(name)) return await this.#reader.resolve(folder, entry);
    }
    return undefined;
  }

  async read(file: BtrfsNode, offset: number, target: Uint8Array): Promise<number> {
    return await this.#reader.readContent(file, offset, target);
  }

  async close(): Promise<void> {
    await this.#volume.disk.close();
  }

  async *#names(folder: BtrfsNode, first: Key, last: Key): AsyncGenerator<NamedItem> {
    if (folder.isEmpty) return;
    for await (const { body } of this.#volume.items(folder.subvolume.tree, first, last)) {
      for (const entry of parseNamed(body)) {
        if (!isFileName(entry.name)) throw body.damaged('a name that no file can have');
        yield entry;
      }
    }
  }
}

/** Where a node is: its number in a subvolume, and the folder it was found in. */
interface Place {
  readonly subvolume: Subvolume;
  readonly objectId: bigint;
  readonly parent: BtrfsNode | undefined;
}

class NodeReader {
  readonly #volume: BtrfsVolume;
  readonly #content: ContentReader;

  constructor(volume: BtrfsVolume) {
    this.#volume = volume;
    this.#content = new ContentReader(volume);
  }

  /** What a name leads to: a file of the same subvolume, or another subvolume. */
  async resolve(parent: BtrfsNode, { name, target }: NamedItem): Promise<BtrfsNode> {
    const { subvolume } = parent;
    if (target.type === ITEM.inode) {
      return await this.read(name, { subvolume, objectId: target.objectId, parent });
    }
    if (target.type !== ITEM.root) {
      throw damaged('name', subvolume.tree.address, `it leads to an item of type ${target.type}`);
    }
    const from = { subvolumeId: subvolume.id, folder: parent.objectId, name };
    const other = await findSubvolume(this.#volume, target.objectId, from);
    if (!other) return emptyFolder(name, parent);
    return await this.read(name, { subvolume: other, objectId: ROOT_FOLDER, parent });
  }

  async read(name: Buffer, place: Place): Promise<BtrfsNode> {
    const { subvolume, objectId, parent } = place;
    refuseCircle(place);
    const item = await this.#volume.find(subvolume.tree, {
      objectId,
      type: ITEM.inode,
      offset: 0n,
    });
    if (!item) throw damaged('subvolume', subvolume.tree.address, `no inode ${objectId}`);
    const inode = parseInode(item.body);
    const { type } = inode;
    const isDevice = type === 'character-device' || type === 'block-device';
    const isShared = type !== 'directory' && inode.linkCount > 1;
    return {
      name,
      type,
      mode: inode.mode,
      userId: inode.userId,
      groupId: inode.groupId,
      modifiedNs: inode.modifiedNs,
      changedNs: inode.changedNs,
      inode: shownInode(subvolume.id, objectId),
      sizeBytes: type === 'file' ? inode.sizeBytes : 0,
      hardLink: isShared ? { device: subvolume.id, inode: objectId } : undefined,
      linkTarget: type === 'symlink' ? await this.#readLink(place, inode) : undefined,
      deviceNumber: isDevice ? inode.deviceNumber : undefined,
      extendedAttributes: await this.#readAttributes(place),
      subvolume,
      objectId,
      parent,
      isEmpty: false,
    };
  }

  async readContent(file: BtrfsNode, offset: number, target: Uint8Array): Promise<number> {
    const length = Math.max(0, Math.min(target.length, file.sizeBytes - offset));
    const request = { tree: file.subvolume.tree, objectId: file.objectId, offset };
    await this.#content.read(request, target.subarray(0, length));
    return length;
  }

  async #readLink({ subvolume, objectId }: Place, { sizeBytes }: Inode): Promise<Buffer> {
    if (sizeBytes === 0 || sizeBytes > LINK_BYTES_MAX) {
      throw damaged('symbolic link', subvolume.tree.address, `${sizeBytes} bytes long`);
    }
    const bytes = Buffer.alloc(sizeBytes);
    await this.#content.read({ tree: subvolume.tree, objectId, offset: 0 }, bytes);
    const target = linkTarget(bytes);
    if (!target) throw damaged('symbolic link', subvolume.tree.address, 'no target');
    return target;
  }

  async #readAttributes({ subvolume, objectId }: Place): Promise<ExtendedAttribute[]> {
    const found: ExtendedAttribute[] = [];
    const keys = keysOf(objectId, ITEM.attribute);
    for await (const { body } of this.#volume.items(subvolume.tree, ...keys)) {
      for (const { name, value } of parseNamed(body)) found.push({ name, value });
    }
    return found.sort((a, b) => a.name.compare(b.name));
  }
}

/** A folder within itself would be a tree without an end. */
function refuseCircle({ subvolume, objectId, parent }: Place): void {
  for (let above = parent; above; above = above.parent) {
    if (above.objectId !== objectId || above.subvolume.id !== subvolume.id || above.isEmpty)
      continue;
    throw damaged('folder', subvolume.tree.address, `inode ${objectId} holds itself`);
  }
}

function emptyFolder(name: Buffer, parent: BtrfsNode): BtrfsNode {
  const { subvolume } = parent;
  const inode = shownInode(subvolume.id, EMPTY_FOLDER);
  const owner = { mode: 0o755, userId: 0, groupId: 0, extendedAttributes: [] };
  return { ...parent, ...owner, name, inode, objectId: EMPTY_FOLDER, parent, isEmpty: true };
}

/** Numbers are those of a subvolume: those of others are moved away from them. */
function shownInode(subvolumeId: bigint, objectId: bigint): bigint {
  return BigInt.asUintN(64, subvolumeId === TOP_LEVEL ? objectId : (subvolumeId << 48n) + objectId);
}
