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
import { systemErrorCode } from '@coffer/base';
import { lock, tryToLock, unlock } from '@coffer/base/libc.ts';

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
/** LMDB opens three files; threads of ours may open one meanwhile. */
const DESCRIPTORS_NEEDED = 4;
/** Of descriptors and of memory, as Node names them and as LMDB counts them. */
const SHORTAGES = new Set<unknown>(['EMFILE', 'ENFILE', 'ENOMEM', 24, 23, 12]);

export class IndexFolder {
  readonly path: string;
  /** Open all the time, since to leave must need nothing that may be short then. */
  readonly #gate: number;
  readonly #use: number;
  readonly #mark: string;

  private constructor(
    path: string,
    { gate, use, mark }: { gate: number; use: number; mark: string },
  ) {
    this.path = path;
    this.#gate = gate;
    this.#use = use;
    this.#mark = mark;
    inUse.add(this);
  }

  /** Begins to use the folder, or leaves it as it is and fails as the file system does. */
  static enter(path: string): IndexFolder {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const opened: number[] = [];
    try {
      for (const name of ['gate', 'use']) opened.push(openSync(join(path, name), 'a', 0o600));
      const [gate, use] = opened as [number, number];
      requireDescriptors();
      return atGate(gate, () => {
        if (tryToLock(use)) prepare(path);
        lock(use, 'shared');
        const mark = mkdtempSync(join(path, MARK));
        // Last, and without need of anything that may be short: until here, nothing has begun.
        rmSync(join(path, SEAL), { force: true });
        return new IndexFolder(path, { gate, use, mark });
      });
    } catch (error) {
      for (const fd of opened) closeSync(fd);
      throw error;
    }
  }

  /** Ends the use, once LMDB is closed or nothing changes any more. The last one seals. */
  leave(): void {
    if (!inUse.delete(this)) return;
    try {
      atGate(this.#gate, () => {
        rmdirSync(this.#mark);
        const isLast = tryToLock(this.#use);
        closeSync(this.#use);
        if (isLast && marks(this.path).length === 0) seal(this.path);
      });
    } catch {
      // Without a seal it is made anew the next time.
    } finally {
      closeSync(this.#gate);
    }
  }

  /** Ends the use, and has the files thrown away when nobody uses them any more. */
  condemn(): void {
    if (!inUse.delete(this)) return;
    closeSync(this.#use);
    closeSync(this.#gate);
  }

  /** Ends the use after a failure: what this process is short of says nothing of the files. */
  giveUp(error: unknown): void {
    const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
    if (SHORTAGES.has(code)) this.leave();
    else this.condemn();
  }
}

/** A process that ends without closing its index has not damaged it. */
const inUse = new Set<IndexFolder>();
process.on('exit', () => {
  for (const folder of inUse) folder.leave();
});

/** Fails where LMDB could not open its files: that ends the process by a signal. */
function requireDescriptors(): void {
  const opened: number[] = [];
  try {
    while (opened.length < DESCRIPTORS_NEEDED) opened.push(openSync('/dev/null', 'r'));
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function atGate<T>(gate: number, task: () => T): T {
  lock(gate, 'alone');
  try {
    return task();
  } finally {
    unlock(gate);
  }
}

/** Nobody else uses the folder now. */
function prepare(path: string): void {
  if (marks(path).length > 0 || !isSealed(path)) discard(path);
  // LMDB would make it without taking its place on the disk, and touch it through memory, which on a
  // full disk is a signal. It makes anew what is in it when it is the only one.
  writeFileSync(join(path, LOCK_FILE), Buffer.alloc(LOCK_FILE_BYTES), { mode: 0o600 });
}

function discard(path: string): void {
  for (const name of [SEAL, DATA_FILE, LOCK_FILE, ...marks(path)]) {
    rmSync(join(path, name), { recursive: true, force: true });
  }
}

function marks(path: string): string[] {
  return readdirSync(path).filter((name) => name.startsWith(MARK));
}

function seal(path: string): void {
  writeFileSync(join(path, SEAL), appearance(path), { mode: 0o600 });
}

/** Fails when that cannot be found out now, as where too many files are open. */
function isSealed(path: string): boolean {
  try {
    return readFileSync(join(path, SEAL), 'latin1') === appearance(path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
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
