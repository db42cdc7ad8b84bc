/**
 * The folder of a local index, which processes share, and what tells whether its files are whole:
 * LMDB maps them into memory, where damage ends a process by a signal.
 *
 * Invariants: while nobody uses the index, `seal` says how its file looked when the last one left;
 * without it, or when it does not fit, the files are thrown away before they are opened. Whoever
 * uses the index has a mark there, which stays behind when the process dies or has met damage; then
 * nobody seals. All that comes and goes waits at `gate` for the others, for a moment.
 */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { lock, tryToLock } from '@coffer/base/libc.ts';

/** What LMDB calls its files. */
export const DATA_FILE = 'data.mdb';
const LOCK_FILE = 'lock.mdb';
const SEAL = 'seal';
const MARK = 'open-';
/** More than LMDB needs for its readers. */
const LOCK_FILE_BYTES = 16 * 1024;
/**
 * So much of the file is read to compare it, in about 0.03 s: all of an index of a million chunks. Of
 * a larger one it is the head, where LMDB keeps what leads to the rest, and the length.
 */
const COMPARED_BYTES = 64 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;

export class IndexFolder {
  readonly path: string;
  readonly #use: number;
  readonly #mark: string;

  private constructor(path: string, use: number) {
    this.path = path;
    this.#use = use;
    this.#mark = mkdtempSync(join(path, MARK));
    inUse.add(this);
  }

  /** Begins to use the folder. Fails as the file system does. */
  static enter(path: string): IndexFolder {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return atGate(path, () => {
      const use = openSync(join(path, 'use'), 'a', 0o600);
      try {
        if (tryToLock(use)) prepare(path);
        lock(use, 'shared');
        return new IndexFolder(path, use);
      } catch (error) {
        closeSync(use);
        throw error;
      }
    });
  }

  /** Ends the use, once LMDB is closed or nothing changes any more. The last one seals. */
  leave(): void {
    if (!inUse.delete(this)) return;
    try {
      atGate(this.path, () => {
        rmdirSync(this.#mark);
        if (tryToLock(this.#use) && marks(this.path).length === 0) seal(this.path);
      });
    } catch {
      // Without a seal it is made anew the next time.
    } finally {
      closeSync(this.#use);
    }
  }

  /** Ends the use, and has the files thrown away when nobody uses them any more. */
  condemn(): void {
    if (inUse.delete(this)) closeSync(this.#use);
  }
}

/** A process that ends without closing its index has not damaged it. */
const inUse = new Set<IndexFolder>();
process.on('exit', () => {
  for (const folder of inUse) folder.leave();
});

function atGate<T>(path: string, task: () => T): T {
  const gate = openSync(join(path, 'gate'), 'a', 0o600);
  try {
    lock(gate, 'alone');
    return task();
  } finally {
    closeSync(gate);
  }
}

/** Nobody else uses the folder now. */
function prepare(path: string): void {
  if (marks(path).length > 0 || !isSealed(path)) discard(path);
  rmSync(join(path, SEAL), { force: true });
  // LMDB would make it without taking its place on the disk, and touch it through memory, which on a
  // full disk is a signal. It makes anew what is in it when it is the only one.
  writeFileSync(join(path, LOCK_FILE), Buffer.alloc(LOCK_FILE_BYTES), { mode: 0o600 });
}

function discard(path: string): void {
  for (const name of [DATA_FILE, LOCK_FILE, ...marks(path)]) {
    rmSync(join(path, name), { recursive: true, force: true });
  }
}

function marks(path: string): string[] {
  return readdirSync(path).filter((name) => name.startsWith(MARK));
}

function seal(path: string): void {
  writeFileSync(join(path, SEAL), appearance(path), { mode: 0o600 });
}

function isSealed(path: string): boolean {
  try {
    return readFileSync(join(path, SEAL), 'latin1') === appearance(path);
  } catch {
    return false;
  }
}

/** Length and checksum of the file. */
function appearance(path: string): string {
  const fd = openSync(join(path, DATA_FILE), 'r');
  try {
    const piece = Buffer.allocUnsafe(READ_BYTES);
    let sum = 0;
    for (let offset = 0; offset < COMPARED_BYTES;) {
      const length = readSync(fd, piece, 0, piece.length, offset);
      if (length === 0) break;
      sum = crc32(piece.subarray(0, length), sum);
      offset += length;
    }
    return `${fstatSync(fd).size} ${sum}`;
  } finally {
    closeSync(fd);
  }
}
