/**
 * A folder that is being restored into. It is held open, and names are resolved in the open folder
 * only (`/proc/self/fd/N/name`), so nothing that lies in the target, and nobody who changes it
 * meanwhile, can lead a write elsewhere.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  chmodSync,
} from 'node:fs';
import { type FileMetadata, type FileType, required, systemErrorCode } from '@coffer/base';
import {
  makeNode,
  removeAttribute,
  removeAttributeOfFile,
  setAttribute,
  setAttributeOfFile,
  setModifiedNs,
  setModifiedNsOfFile,
} from '@coffer/base/libc.ts';
import { fileTypeOf } from './metadata.ts';

/** What is restored of a folder itself. */
export type FolderMetadata = Pick<
  FileMetadata,
  'mode' | 'userId' | 'groupId' | 'modifiedNs' | 'extendedAttributes'
>;

/** Told of each part of the metadata that could not be restored. */
export type OnRefused = (what: 'owner' | 'attribute', error: unknown) => void;

const NODE_TYPE_BITS: Partial<Record<FileType, number>> = {
  fifo: 0o010000,
  'character-device': 0o020000,
  'block-device': 0o060000,
  socket: 0o140000,
};

const isRoot = process.getuid?.() === 0;

export class TargetFolder {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Opens a folder by its path, which the user gave: links in it are followed. */
  static open(path: string): TargetFolder {
    return new TargetFolder(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
  }

  /** Opens a folder in this one, and makes it when it is not there. Links are not followed. */
  enter(name: Buffer): TargetFolder {
    const path = this.path(name);
    try {
      mkdirSync(path, 0o700);
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    }
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    return new TargetFolder(openSync(path, flags));
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** A path of the name that is resolved in the open folder. */
  path(name: Buffer): Buffer {
    return Buffer.concat([Buffer.from(`/proc/self/fd/${this.#fd}/`), name]);
  }

  typeOf(name: Buffer): FileType | undefined {
    try {
      return fileTypeOf(lstatSync(this.path(name), { bigint: true }));
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Makes a file that is not there yet; returns it open for writing. */
  createFile(name: Buffer): number {
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    return openSync(this.path(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  }

  /** Opens a file that is there for reading and writing; undefined when it is no regular file. */
  openFile(name: Buffer): number | undefined {
    const { O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants;
    const fd = openSync(this.path(name), O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
    return undefined;
  }

  createLink(metadata: FileMetadata, onRefused: OnRefused): void {
    const path = this.path(metadata.name);
    symlinkSync(required(metadata.linkTarget, 'a symbolic link leads somewhere'), path);
    setMetadataOfPath(path, metadata, onRefused);
  }

  /** Makes a fifo, a socket or a device node. */
  createNode(metadata: FileMetadata, onRefused: OnRefused): void {
    const path = this.path(metadata.name);
    const typeBits = required(NODE_TYPE_BITS[metadata.type], 'a node has a type');
    makeNode(path, typeBits | 0o600, metadata.deviceNumber ?? 0n);
    setMetadataOfPath(path, metadata, onRefused);
  }

  /** True when a file has other names, here or elsewhere: what is written to it is written to them. */
  isShared(name: Buffer): boolean {
    return lstatSync(this.path(name)).nlink > 1;
  }

  createHardLink(existing: Buffer, name: Buffer): void {
    linkSync(existing, this.path(name));
  }

  remove(name: Buffer): void {
    unlinkSync(this.path(name));
  }

  rename(from: Buffer, to: Buffer): void {
    renameSync(this.path(from), this.path(to));
  }

  setMetadata(metadata: FolderMetadata, onRefused: OnRefused): void {
    setMetadataOfFile(this.#fd, metadata, onRefused);
  }
}

/**
 * Owner first, since changing it clears bits of the mode; then what needs the right to write, which
 * the mode may take away; time last, since all else changes it.
 */
export function setMetadataOfFile(
  fd: number,
  metadata: FolderMetadata,
  onRefused: OnRefused,
): void {
  const isOwned = setOwner(metadata, onRefused, () =>
    fchownSync(fd, metadata.userId, metadata.groupId),
  );
  for (const name of INHERITED_ATTRIBUTES) {
    if (!hasAttribute(metadata, name)) removeAttributeOfFile(fd, name);
  }
  for (const { name, value } of metadata.extendedAttributes) {
    attempt('attribute', onRefused, () => setAttributeOfFile(fd, name, value));
  }
  fchmodSync(fd, modeFor(metadata, isOwned));
  setModifiedNsOfFile(fd, metadata.modifiedNs);
}

/** A new file has them of its folder, and they would let others in. */
const INHERITED_ATTRIBUTES = ['system.posix_acl_access', 'system.posix_acl_default'].map((name) =>
  Buffer.from(name),
);

function hasAttribute({ extendedAttributes }: FolderMetadata, wanted: Buffer): boolean {
  return extendedAttributes.some(({ name }) => name.equals(wanted));
}

const SET_ID_BITS = 0o6000;

/** A program that runs as its owner must not run as somebody else. */
function modeFor({ mode }: FolderMetadata, isOwned: boolean): number {
  return isOwned ? mode : mode & ~SET_ID_BITS;
}

/** Ends a file at its size: what was not written after the last data is a hole. */
export function endFileAt(fd: number, sizeBytes: number): void {
  ftruncateSync(fd, sizeBytes);
}

function setMetadataOfPath(path: Buffer, metadata: FileMetadata, onRefused: OnRefused): void {
  const isOwned = setOwner(metadata, onRefused, () =>
    lchownSync(path, metadata.userId, metadata.groupId),
  );
  if (metadata.type !== 'symlink') {
    removeAttribute(path, INHERITED_ATTRIBUTES[0]!);
    changeMode(path, metadata.type, modeFor(metadata, isOwned));
  }
  for (const { name, value } of metadata.extendedAttributes) {
    attempt('attribute', onRefused, () => setAttribute(path, name, value));
  }
  setModifiedNs(path, metadata.modifiedNs);
}

/** O_PATH: opens a name and not what it is of, so that a device or fifo does nothing. */
const OPEN_NAME = 0o10000000;

/** Somebody may have put a link in the place, which chmod(2) would follow. Fails with `ESTALE` then. */
function changeMode(path: Buffer, type: FileType, mode: number): void {
  const fd = openSync(path, OPEN_NAME | constants.O_NOFOLLOW);
  try {
    if (fileTypeOf(fstatSync(fd, { bigint: true })) !== type) {
      throw Object.assign(new Error('something else took its name'), { code: 'ESTALE' });
    }
    chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    closeSync(fd);
  }
}

/**
 * Only root gives files away; for others the owner is right when it is themselves. False when it is
 * another one than it was.
 */
function setOwner(metadata: FolderMetadata, onRefused: OnRefused, chown: () => void): boolean {
  if (isRoot) return attempt('owner', onRefused, chown);
  const isOwn = metadata.userId === process.getuid?.() && metadata.groupId === process.getgid?.();
  if (!isOwn) onRefused('owner', new Error('only root can restore another owner'));
  return isOwn;
}

function attempt(what: 'owner' | 'attribute', onRefused: OnRefused, change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    onRefused(what, error);
    return false;
  }
}
