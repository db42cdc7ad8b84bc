/**
 * XFS of versions 4 and 5, read-only. Written from the published description of the format ("XFS
 * Algorithms & Data Structures"), and compared with what Linux reads.
 *
 * The log is not replayed. A volume that was neither unmounted nor frozen has names and inodes that
 * are in its log only, even after `sync`, for up to about a minute: what is read is the state before
 * them, without new files, and what was written half may be told as damaged.
 *
 * Invariant: a folder is given once, by its parent only, and the root by none, so that walks end.
 */
import { type CofferError, type FileMetadata, isCofferError, isFileName } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import { readAttributes } from './attributes.ts';
import { damaged, unsupported } from './fields.ts';
import type { FolderEntry } from './folder-codec.ts';
import { findName, namesIn } from './folder.ts';
import { readFork } from './fork.ts';
import type { Inode } from './inode-codec.ts';
import { readRemoteLink } from './remote.ts';
import { openVolume, readInode, type Volume } from './volume.ts';

interface XfsNode extends FileMetadata {
  /** The inode of the folder that it was found in. */
  readonly parent: bigint;
}

const LINK_BYTES_MAX = 1024;

/** Fails with `file-system-unknown`, `file-system-unsupported` or `file-system-damaged`. */
export async function openXfs(disk: Disk): Promise<FileSystem> {
  const volume = await openVolume(disk);
  const { rootInode } = volume.geometry;
  const inode = await readInode(volume, rootInode);
  if (inode.type !== 'directory') {
    throw damaged(`inode ${rootInode}`, inode.offset, 'the root is no folder');
  }
  return new Xfs(volume, await describe(volume, inode, Buffer.alloc(0), rootInode));
}

class Xfs implements FileSystem<XfsNode> {
  readonly root: XfsNode;
  readonly #volume: Volume;

  constructor(volume: Volume, root: XfsNode) {
    this.#volume = volume;
    this.root = root;
  }

  /** Gives all names that are whole, and fails in the end when one was not. */
  async *entries(folder: XfsNode): AsyncIterable<XfsNode> {
    let damage: CofferError | undefined;
    const folders = new Set([this.root.inode]);
    const inode = await readInode(this.#volume, folder.inode);
    for await (const entries of namesIn(this.#volume, inode, folder.parent)) {
      for (const entry of entries) {
        try {
          const node = await this.#node(entry, folder);
          if (node.type === 'directory') requireFirst(folders, node);
          yield node;
        } catch (error) {
          if (!isCofferError(error)) throw error;
          damage ??= error;
        }
      }
    }
    if (damage) throw damage;
  }

  async find(folder: XfsNode, name: Buffer): Promise<XfsNode | undefined> {
    const inode = await readInode(this.#volume, folder.inode);
    const entry = await findName(this.#volume, inode, folder.parent, name);
    return entry && (await this.#node(entry, folder));
  }

  async read(file: XfsNode, offset: number, target: Uint8Array): Promise<number> {
    const { data, isRealtime, sizeBytes } = await readInode(this.#volume, file.inode);
    const length = Math.max(0, Math.min(target.length, sizeBytes - offset));
    if (length === 0) return 0;
    if (isRealtime) throw unsupported('the content is on a realtime device', file.inode);
    if (!data) throw damaged(`inode ${file.inode}`, 0, 'it has no content');
    await readFork(this.#volume, data, offset, target.subarray(0, length));
    return length;
  }

  async close(): Promise<void> {
    await this.#volume.disk.close();
  }

  async #node({ name, inode }: FolderEntry, folder: XfsNode): Promise<XfsNode> {
    if (!isFileName(name)) throw damaged(`folder ${folder.inode}`, 0, 'it has what is no name');
    const child = await readInode(this.#volume, inode);
    return await describe(this.#volume, child, Buffer.from(name), folder.inode);
  }
}

/** A folder of two names would be two folders, and their folders four. */
function requireFirst(folders: Set<bigint>, { inode, parent }: XfsNode): void {
  if (folders.has(inode)) throw damaged(`folder ${parent}`, 0, `folder ${inode} has two names`);
  folders.add(inode);
}

async function describe(
  volume: Volume,
  inode: Inode,
  name: Buffer,
  parent: bigint,
): Promise<XfsNode> {
  const { number, type, mode, userId, groupId, modifiedNs, changedNs, deviceNumber } = inode;
  const isShared = type !== 'directory' && inode.linkCount > 1;
  return {
    name,
    type,
    mode,
    userId,
    groupId,
    modifiedNs,
    changedNs,
    inode: number,
    sizeBytes: type === 'file' ? inode.sizeBytes : 0,
    hardLink: isShared ? { device: 0n, inode: number } : undefined,
    linkTarget: type === 'symlink' ? await readLink(volume, inode) : undefined,
    deviceNumber,
    extendedAttributes: await readAttributes(volume, inode),
    parent,
  };
}

async function readLink(volume: Volume, inode: Inode): Promise<Buffer> {
  const { data, number, sizeBytes, offset } = inode;
  const structure = `link ${number}`;
  if (sizeBytes === 0 || sizeBytes > LINK_BYTES_MAX || !data) {
    throw damaged(structure, offset, `a target of ${sizeBytes} bytes`);
  }
  const target =
    data.format === 'local'
      ? data.bytes.part(0, sizeBytes)
      : await readRemoteLink(volume, data, number, sizeBytes);
  if (target.bytes.includes(0)) throw damaged(structure, offset, 'the target has a zero');
  return Buffer.from(target.bytes);
}
