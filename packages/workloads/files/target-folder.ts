/**
 * A folder that is being restored into. Names are resolved in the open folder only, so nothing that
 * lies in the target, and nobody who changes it meanwhile, can lead a write elsewhere.
 *
 * Invariant: a folder or file of ours that lacked the right to write has its mode back when it is
 * closed, unless it was given another one.
 */
import { closeSync } from 'node:fs';
import { type FileMetadata, type FileType, required, systemErrorCode } from '@coffer/base';
import {
  type FileStats,
  linkAt,
  makeFolderAt,
  makeLinkAt,
  makeNodeAt,
  namesIn,
  OPEN_CREATE_NEW,
  OPEN_FOLDER,
  OPEN_NAME,
  OPEN_NO_WAIT,
  OPEN_READ,
  OPEN_READ_WRITE,
  OPEN_WRITE,
  openAt,
  openPath,
  removeAt,
  renameAt,
  statAt,
  statOf,
} from '@coffer/base/folder-calls.ts';
import { removeAttributeOfFile } from '@coffer/base/libc.ts';
import { HeldFolder } from './held-folder.ts';
import { openJustMade } from './just-made.ts';
import {
  FILE_RIGHTS,
  FOLDER_RIGHTS,
  giveBack,
  leave,
  openFolder,
  openForChange,
  type Opened,
} from './open-for-change.ts';
import { ITSELF } from './metadata.ts';
import {
  type FolderMetadata,
  INHERITED_ATTRIBUTES,
  type OnRefused,
  setMetadataOfFile,
  setMetadataOfMade,
} from './target-metadata.ts';
import { isNoName } from './target-name.ts';
import { isLeftOver } from './temporary-name.ts';

const NODE_TYPE_BITS: Partial<Record<FileType, number>> = {
  fifo: 0o010000,
  'character-device': 0o020000,
  'block-device': 0o060000,
  socket: 0o140000,
};

/**
 * Folders that are open at once: those from the root down to where the restore is, and those whose
 * files are still under way.
 */
const OPEN_FOLDERS_MAX = 1024;

/** Which file it is, whatever name it has. */
export type FileIdentity = Pick<FileStats, 'device' | 'inode'>;

/** A name in a folder, which may be finished. */
export interface NameInTarget {
  readonly folder: TargetFolder;
  readonly name: Buffer;
}

interface NewTarget {
  readonly name: Buffer;
  readonly held: HeldFolder;
  readonly opened: Opened;
  readonly isNew: boolean;
}

export class TargetFolder {
  readonly #above: TargetFolder | undefined;
  readonly #name: Buffer;
  readonly #held: HeldFolder;
  /** It was made by `enter`, so that nothing is in it but what was put there since. */
  readonly isNew: boolean;
  #modeBefore: number | undefined;
  #names: ReadonlySet<string> | undefined;
  #isClosed = false;

  private constructor(above: TargetFolder | undefined, { name, held, opened, isNew }: NewTarget) {
    this.#above = above;
    this.#name = name;
    this.#held = held;
    this.isNew = isNew;
    this.#modeBefore = opened.modeBefore;
  }

  /** Opens a folder by its path, which the user gave: links in it are followed. */
  static open(path: Buffer, openMax: number = OPEN_FOLDERS_MAX): TargetFolder {
    const named = openPath(path, OPEN_NAME | OPEN_FOLDER);
    try {
      const opened = openFolder(named, ITSELF);
      const held = HeldFolder.root(opened.fd, { openFlags: OPEN_READ, openMax });
      const folder = new TargetFolder(undefined, { name: path, held, opened, isNew: false });
      folder.#removeLeftOvers();
      return folder;
    } finally {
      closeSync(named);
    }
  }

  /** Opens a folder in this one, and makes it when it is not there. Links are not followed. */
  enter(name: Buffer): TargetFolder {
    const isNew = this.#makeUnlessThere(name);
    const opened = isNew ? this.#openNew(name) : openFolder(this.#fd, name);
    const held = this.#held.hold(name, opened.fd);
    const folder = new TargetFolder(this, { name, held, opened, isNew });
    if (!isNew) folder.#removeLeftOvers();
    return folder;
  }

  /** Removes what restores have left that were killed while they made it. */
  #removeLeftOvers(): void {
    for (const name of namesIn(this.#fd).filter(isLeftOver)) {
      try {
        this.remove(name);
      } catch (error) {
        // It is in nobody's way.
        if (systemErrorCode(error) === undefined) throw error;
      }
    }
  }

  /** False for a folder that is there. */
  #makeUnlessThere(name: Buffer): boolean {
    try {
      makeFolderAt(this.#fd, name, FOLDER_RIGHTS);
      return true;
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
      return false;
    }
  }

  #openNew(name: Buffer): Opened {
    const made = { folder: this.#fd, name };
    const fd = openJustMade(made, 'directory', OPEN_READ | OPEN_FOLDER);
    // What is made in it would inherit them, too.
    for (const attribute of INHERITED_ATTRIBUTES) removeAttributeOfFile(fd, attribute);
    return { fd, modeBefore: undefined };
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get #fd(): number {
    return this.#held.fd;
  }

  close(): void {
    this.#isClosed = true;
    this.#held.openAbove();
    if (this.#modeBefore !== undefined) this.#giveModeBack(this.#modeBefore);
    this.#held.close();
  }

  #giveModeBack(modeBefore: number): void {
    try {
      giveBack({ fd: this.#fd, modeBefore });
    } catch (error) {
      // It is not there any more.
      if (systemErrorCode(error) === undefined) throw error;
    }
  }

  /** Undefined for a name that nothing has, or can have. */
  typeOf(name: Buffer): FileType | undefined {
    try {
      return this.#stats(name).type;
    } catch (error) {
      if (isNoName(error)) return undefined;
      throw error;
    }
  }

  #stats(name: Buffer): FileStats {
    return statAt(this.#fd, name);
  }

  /**
   * True when the folder has this very name; where names in upper and lower case are one, what is
   * found under a name may have another. The list is read again for a name that is not in it.
   */
  lists(name: Buffer): boolean {
    const key = name.toString('latin1');
    if (this.#names?.has(key)) return true;
    this.#names = new Set(namesIn(this.#fd).map((each) => each.toString('latin1')));
    return this.#names.has(key);
  }

  /** A descriptor of its own, for what goes on while others are used; the caller closes it. */
  openApart(): number {
    return openAt(this.#fd, ITSELF, OPEN_NAME | OPEN_FOLDER);
  }

  /** Makes a file that is not there yet; returns it open for writing. */
  createFile(name: Buffer): number {
    return openAt(this.#fd, name, OPEN_WRITE | OPEN_CREATE_NEW, FILE_RIGHTS);
  }

  /** Opens a file that is there for reading and writing; undefined when it is no regular file. */
  openFile(name: Buffer): Opened | undefined {
    const opened = openForChange({ folder: this.#fd, name }, FILE_RIGHTS, (folder, opens) =>
      openAt(folder, opens, OPEN_READ_WRITE | OPEN_NO_WAIT),
    );
    if (statOf(opened.fd).type === 'file') return opened;
    leave(opened);
    return undefined;
  }

  createLink(metadata: FileMetadata, onRefused: OnRefused): void {
    const target = required(metadata.linkTarget, 'a symbolic link leads somewhere');
    makeLinkAt(this.#fd, metadata.name, target);
    this.#setMetadata(metadata, onRefused);
  }

  /** Makes a fifo, a socket or a device node. */
  createNode(metadata: FileMetadata, onRefused: OnRefused): void {
    const typeBits = required(NODE_TYPE_BITS[metadata.type], 'a node has a type');
    const { name, deviceNumber = 0n } = metadata;
    makeNodeAt(this.#fd, name, typeBits | FILE_RIGHTS, deviceNumber);
    this.#setMetadata(metadata, onRefused);
  }

  #setMetadata(metadata: FileMetadata, onRefused: OnRefused): void {
    setMetadataOfMade({ folder: this.#fd, name: metadata.name }, metadata, onRefused);
  }

  /** True when a file has other names, here or elsewhere: what is written to it is written to them. */
  isShared(name: Buffer): boolean {
    return this.#stats(name).linkCount > 1;
  }

  /** Which file has a name; undefined when none has. */
  identityOf(name: Buffer): FileIdentity | undefined {
    try {
      const { device, inode } = this.#stats(name);
      return { device, inode };
    } catch (error) {
      if (isNoName(error)) return undefined;
      throw error;
    }
  }

  /**
   * The file may be in a folder that is closed. Fails with `ESTALE` when another folder took the place
   * of that, or another file that of the one that is meant.
   */
  createHardLink(existing: NameInTarget, name: Buffer, meant: FileIdentity | undefined): void {
    const from = TargetFolder.#openApart(existing.folder);
    try {
      linkAt({ folder: from.fd, name: existing.name }, { folder: this.#fd, name });
    } finally {
      leave(from);
    }
    const linked = this.identityOf(name);
    if (linked && meant?.inode === linked.inode && meant.device === linked.device) return;
    if (linked) this.remove(name);
    throw Object.assign(new Error('another file took its name'), { code: 'ESTALE' });
  }

  /** Opens a folder apart from those that are held, from the nearest above it that is not closed. */
  static #openApart(wanted: TargetFolder): Opened {
    const closed: TargetFolder[] = [];
    let folder = wanted;
    for (; folder.isClosed; folder = required(folder.#above, 'the root is closed last')) {
      closed.push(folder);
    }
    let opened: Opened = {
      fd: openAt(folder.#fd, ITSELF, OPEN_NAME | OPEN_FOLDER),
      modeBefore: undefined,
    };
    for (const below of closed.toReversed()) {
      const above = opened;
      try {
        opened = below.#openIn(above.fd);
      } finally {
        leave(above);
      }
    }
    return opened;
  }

  #openIn(above: number): Opened {
    const opened = openFolder(above, this.#name);
    try {
      this.#held.checkSame(opened.fd);
      return opened;
    } catch (error) {
      leave(opened);
      throw error;
    }
  }

  remove(name: Buffer): void {
    removeAt(this.#fd, name);
  }

  rename(from: Buffer, to: Buffer): void {
    renameAt(this.#fd, from, to);
  }

  setMetadata(metadata: FolderMetadata, onRefused: OnRefused): void {
    // Its mode may take away the right to enter it.
    this.#held.openAbove();
    setMetadataOfFile(this.#fd, metadata, onRefused);
    this.#modeBefore = undefined;
  }
}
