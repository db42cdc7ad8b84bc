/**
 * The folders of a walk, from the root down. Names are read in the open folder, so no depth is too
 * deep and nobody can lead the walk elsewhere. Only those that were used last are held open: another
 * one is opened again by `..` of a folder in it, or by the names from one that it is in.
 *
 * Invariant: what is opened again is the same folder, by device and inode, and no link was followed.
 */
import { closeSync } from 'node:fs';
import { required, systemErrorCode } from '@coffer/base';
import { type FileStats, OPEN_FOLDER, openAt, statOf } from '@coffer/base/folder-calls.ts';

export interface HoldOptions {
  /** How folders are opened again: `OPEN_READ` or `OPEN_NAME`. */
  readonly openFlags: number;
  /** Folders that are open at once, besides the root; at least 2. */
  readonly openMax: number;
}

type Identity = Pick<FileStats, 'device' | 'inode'>;

const UP = Buffer.from('..');

export class HeldFolder {
  readonly #above: HeldFolder | undefined;
  readonly #name: Buffer;
  readonly #identity: Identity;
  readonly #open: OpenFolders;
  #fd: number | undefined;
  /** The folder in it that was entered last. */
  #below: HeldFolder | undefined;

  private constructor(
    above: HeldFolder | undefined,
    { name, fd, open }: { name: Buffer; fd: number; open: OpenFolders },
  ) {
    this.#above = above;
    this.#name = name;
    this.#fd = fd;
    this.#open = open;
    this.#identity = statOf(fd);
  }

  /** Takes over the open folder. It stays open, since all others are found from it. */
  static root(fd: number, options: HoldOptions): HeldFolder {
    const open = new OpenFolders(options);
    return new HeldFolder(undefined, { name: Buffer.alloc(0), fd, open });
  }

  /** Takes over what was opened by its name in this folder. */
  hold(name: Buffer, fd: number): HeldFolder {
    const below = new HeldFolder(this, { name, fd, open: this.#open });
    this.#below = below;
    this.#open.add(below);
    return below;
  }

  /**
   * Valid until another folder is used. Fails with `ESTALE` when another folder has its name, and as
   * opening does.
   */
  get fd(): number {
    this.#fd ??= this.#openFrom(this.#below) ?? this.#openByNames();
    if (this.#above) this.#open.add(this);
    return this.#fd;
  }

  get isOpen(): boolean {
    return this.#fd !== undefined;
  }

  /** Fails with `ESTALE` when something else is open there. */
  checkSame(fd: number): void {
    const { device, inode } = statOf(fd);
    if (inode === this.#identity.inode && device === this.#identity.device) return;
    throw Object.assign(new Error('another folder took its name'), { code: 'ESTALE' });
  }

  /** Opens the folder that this one is in, while this one still shows the way. */
  openAbove(): void {
    const above = this.#above;
    if (!above || above.#fd !== undefined) return;
    above.#fd = above.#openFrom(this);
    if (above.#fd !== undefined && above.#above) this.#open.add(above);
  }

  /** What is used afterwards is opened again. */
  close(): void {
    this.openAbove();
    this.#open.remove(this);
    this.release();
  }

  /** Closes the descriptor until it is needed again. */
  release(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Undefined where that is not the way: it is closed, was moved, or may not be entered. */
  #openFrom(below: HeldFolder | undefined): number | undefined {
    if (!below || below.#fd === undefined) return undefined;
    try {
      return this.#openAt(below.#fd, UP);
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
      return undefined;
    }
  }

  /** From the nearest one above that is open. */
  #openByNames(): number {
    const closed: HeldFolder[] = [];
    let folder = required(this.#above, 'the root is open');
    for (; folder.#fd === undefined; folder = required(folder.#above, 'the root is open')) {
      closed.push(folder);
    }
    for (const below of closed.toReversed()) {
      below.#fd = below.#openAt(folder.fd, below.#name);
      this.#open.add(below);
      folder = below;
    }
    return this.#openAt(folder.fd, this.#name);
  }

  /** Opens this folder again, by what may be its name there. */
  #openAt(folder: number, name: Buffer): number {
    const fd = openAt(folder, name, this.#open.flags);
    try {
      this.checkSame(fd);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
}

/** The folders of a walk that are open, those that were used last at the end. */
class OpenFolders {
  readonly flags: number;
  readonly #openMax: number;
  readonly #folders = new Set<HeldFolder>();
  #last: HeldFolder | undefined;

  constructor({ openFlags, openMax }: HoldOptions) {
    this.flags = openFlags | OPEN_FOLDER;
    this.#openMax = openMax;
  }

  add(folder: HeldFolder): void {
    if (folder === this.#last) return;
    this.#folders.delete(folder);
    this.#folders.add(folder);
    this.#last = folder;
    if (this.#folders.size <= this.#openMax) return;
    const [oldest] = this.#folders;
    oldest?.release();
    if (oldest) this.#folders.delete(oldest);
  }

  remove(folder: HeldFolder): void {
    this.#folders.delete(folder);
    if (this.#last === folder) this.#last = undefined;
  }
}
