/**
 * The folders of a walk, from the root down. Names are read in the open folder, so no depth is too
 * deep and nobody can lead the walk elsewhere. Of a long chain only the last ones are held open; one
 * above them is found again by its names when the walk comes back to it.
 */
import { closeSync } from 'node:fs';
import { required } from '@coffer/base';
import {
  type FileStats,
  OPEN_FOLDER,
  OPEN_NAME,
  OPEN_READ,
  openAt,
  openPath,
  statOf,
} from '@coffer/base/folder-calls.ts';
import { ITSELF } from './metadata.ts';

/** Folders above each other that are open at once. */
const HELD_OPEN_MAX = 128;

type Identity = Pick<FileStats, 'device' | 'inode'>;

export class SourceFolder {
  readonly #above: SourceFolder | undefined;
  readonly #name: Buffer;
  readonly #identity: Identity;
  readonly #depth: number;
  #fd: number | undefined;

  private constructor(above: SourceFolder | undefined, name: Buffer, fd: number) {
    this.#above = above;
    this.#name = name;
    this.#fd = fd;
    this.#identity = statOf(fd);
    this.#depth = above ? above.#depth + 1 : 0;
  }

  /** The folder that the user named; links in the path are followed. */
  static root(path: Buffer): SourceFolder {
    const fd = openPath(path, OPEN_READ | OPEN_FOLDER);
    return new SourceFolder(undefined, path, fd);
  }

  /** Fails with `ESTALE` when another folder has taken the name since it was looked at. */
  enter(name: Buffer, seen: Identity): SourceFolder {
    const entered = new SourceFolder(this, name, openSame(this.fd, name, seen));
    entered.#releaseAbove();
    return entered;
  }

  /** True when that is what was seen. */
  is({ device, inode }: Identity): boolean {
    return this.#identity.device === device && this.#identity.inode === inode;
  }

  get fd(): number {
    this.#fd ??= this.#openAgain();
    return this.#fd;
  }

  /** A descriptor of its own, for what goes on while the walk leaves; the caller closes it. */
  openApart(): number {
    return openAt(this.fd, ITSELF, OPEN_NAME | OPEN_FOLDER);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** The root stays open: it is where all others are found again. */
  #releaseAbove(): void {
    let above = this.#above;
    for (let held = 1; above && held < HELD_OPEN_MAX; held++) above = above.#above;
    if (above && above.#depth > 0) above.close();
  }

  #openAgain(): number {
    const closed: SourceFolder[] = [];
    let above = required(this.#above, 'the root is open');
    for (; above.#fd === undefined; above = required(above.#above, 'the root is open')) {
      closed.push(above);
    }
    let folder = above;
    for (const below of closed.reverse()) {
      below.#fd = openSame(folder.fd, below.#name, below.#identity);
      below.#releaseAbove();
      folder = below;
    }
    return openSame(folder.fd, this.#name, this.#identity);
  }
}

function openSame(folder: number, name: Buffer, { device, inode }: Identity): number {
  const fd = openAt(folder, name, OPEN_READ | OPEN_FOLDER);
  const opened = statOf(fd);
  if (opened.inode === inode && opened.device === device) return fd;
  closeSync(fd);
  throw Object.assign(new Error('another folder took its name'), { code: 'ESTALE' });
}
