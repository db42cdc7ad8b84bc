/**
 * System calls that are relative to an open folder. A path is resolved anew by each call, is at most
 * 4,095 bytes long, and may lead elsewhere meanwhile; a name in an open folder does none of that. No
 * call follows a link at the name. `.` is the folder itself. Linux only.
 */
import { closeSync, readdirSync } from 'node:fs';
import koffi from 'koffi';
import type { FileType } from './file-entry.ts';
import { SystemError } from './libc.ts';

const library = koffi.load(null);
const statx = library.func('int statx(int fd, void *path, int flags, uint32_t mask, void *out)');
const openat = library.func('int openat(int fd, void *path, int flags, uint32_t mode)');
const mkdirat = library.func('int mkdirat(int fd, void *path, uint32_t mode)');
const mknodat = library.func('int mknodat(int fd, void *path, uint32_t mode, uint64_t device)');
const symlinkat = library.func('int symlinkat(void *target, int fd, void *path)');
const readlinkat = library.func('int64_t readlinkat(int fd, void *path, void *out, size_t size)');
const linkat = library.func('int linkat(int fd, void *from, int toFd, void *to, int flags)');
const renameat = library.func('int renameat(int fd, void *from, int toFd, void *to)');
const renameat2 = library.func(
  'int renameat2(int fd, void *from, int toFd, void *to, unsigned int flags)',
);
const unlinkat = library.func('int unlinkat(int fd, void *path, int flags)');
const fchownat = library.func(
  'int fchownat(int fd, void *path, uint32_t user, uint32_t group, int flags)',
);
const utimensat = library.func('int utimensat(int fd, void *path, void *times, int flags)');
const futimens = library.func('int futimens(int fd, void *times)');

/** AT_FDCWD: the folder of the process, for paths that the user gave. */
export const CURRENT_FOLDER = -100;
const NO_FOLLOW = 0x100;
const RENAME_NO_REPLACE = 1;
/** The descriptor itself, which need not be of a folder. */
const EMPTY_PATH = 0x1000;
/** Type, mode, links, owner, times, inode, size and blocks. */
const BASIC_STATS = 0x7ff;
const STATX_SIZE_BYTES = 256;
/** What is read of it. */
export const STATS_SIZE_BYTES = 144;
const LINK_SIZE_BYTES = 65_536;

export const OPEN_READ = 0;
export const OPEN_WRITE = 1;
export const OPEN_READ_WRITE = 2;
export const OPEN_CREATE_NEW = 0o300;
/** A fifo or a device that took the name must not block us. */
export const OPEN_NO_WAIT = 0o4000;
export const OPEN_FOLDER = 0o200000;
/** The name and not what it is of, so that a device or fifo does nothing. */
export const OPEN_NAME = 0o10000000;
const OPEN_NO_FOLLOW = 0o400000;
const OPEN_CLOSE_ON_EXEC = 0o2000000;

export interface FileStats {
  /** Undefined for a type that no file system is known to have. */
  readonly type: FileType | undefined;
  /** Permission bits, with set-user-id, set-group-id and sticky. */
  readonly mode: number;
  readonly linkCount: number;
  readonly userId: number;
  readonly groupId: number;
  readonly device: bigint;
  readonly inode: bigint;
  /** Of a device node. */
  readonly deviceNumber: bigint;
  readonly sizeBytes: bigint;
  /** Bytes that it takes on its file system. */
  readonly allocatedBytes: bigint;
  /** Nanoseconds since 1970. */
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

const statBuffer = Buffer.alloc(STATX_SIZE_BYTES);

export function statAt(folder: number, name: Buffer): FileStats {
  check(statx(folder, terminated(name), NO_FOLLOW, BASIC_STATS, statBuffer), 'statx');
  return parseStats(statBuffer, 0);
}

/**
 * The same as bytes, which cross between threads at less cost: puts `STATS_SIZE_BYTES` at an offset.
 * What fails is zeroes.
 */
export function putStatsAt(folder: number, name: Buffer, target: Buffer, offset: number): void {
  const result = statx(folder, terminated(name), NO_FOLLOW, BASIC_STATS, statBuffer) as number;
  if (result < 0) target.fill(0, offset, offset + STATS_SIZE_BYTES);
  else statBuffer.copy(target, offset, 0, STATS_SIZE_BYTES);
}

/** Whether it is of a folder; false for what has failed. */
export function isFolderAt(bytes: Buffer, offset: number): boolean {
  return TYPES.get(bytes.readUInt16LE(offset + MODE_OFFSET) & TYPE_BITS) === 'directory';
}

/** What `putStatsAt` has put; undefined for what has failed. */
export function statsAt(bytes: Buffer, offset: number): FileStats | undefined {
  return bytes.readUInt32LE(offset) === 0 ? undefined : parseStats(bytes, offset);
}

/** Of what is open, whatever it is. */
export function statOf(fd: number): FileStats {
  check(statx(fd, EMPTY, EMPTY_PATH, BASIC_STATS, statBuffer), 'statx');
  return parseStats(statBuffer, 0);
}

const TYPES = new Map<number, FileType>([
  [0o010000, 'fifo'],
  [0o020000, 'character-device'],
  [0o040000, 'directory'],
  [0o060000, 'block-device'],
  [0o100000, 'file'],
  [0o120000, 'symlink'],
  [0o140000, 'socket'],
]);
const TYPE_BITS = 0o170000;
const MODE_OFFSET = 28;
const SECOND_NS = 1_000_000_000n;

/** struct statx, statx(2). */
function parseStats(bytes: Buffer, start: number): FileStats {
  const mode = bytes.readUInt16LE(start + MODE_OFFSET);
  const timeAt = (at: number): bigint =>
    bytes.readBigInt64LE(start + at) * SECOND_NS + BigInt(bytes.readUInt32LE(start + at + 8));
  const deviceAt = (at: number): bigint =>
    deviceOf(bytes.readUInt32LE(start + at), bytes.readUInt32LE(start + at + 4));
  return {
    type: TYPES.get(mode & TYPE_BITS),
    mode: mode & 0o7777,
    linkCount: bytes.readUInt32LE(start + 16),
    userId: bytes.readUInt32LE(start + 20),
    groupId: bytes.readUInt32LE(start + 24),
    inode: bytes.readBigUInt64LE(start + 32),
    sizeBytes: bytes.readBigUInt64LE(start + 40),
    allocatedBytes: bytes.readBigUInt64LE(start + 48) * 512n,
    changedNs: timeAt(96),
    modifiedNs: timeAt(112),
    deviceNumber: deviceAt(128),
    device: deviceAt(136),
  };
}

/** As makedev(3) does, and mknod(2) takes it. */
function deviceOf(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  const upper = ((high & 0xfffff000n) << 32n) | ((low & 0xffffff00n) << 12n);
  return upper | ((high & 0xfffn) << 8n) | (low & 0xffn);
}

/** Returns what is to be closed. `mode` is of what is made. */
export function openAt(folder: number, name: Buffer, flags: number, mode = 0): number {
  const all = flags | OPEN_NO_FOLLOW | OPEN_CLOSE_ON_EXEC;
  return check(openat(folder, terminated(name), all, mode), 'openat');
}

/** The kernel takes so much of a path at once. */
const PATH_PIECE_SIZE_MAX = 4000;
const SLASH = 0x2f;
/** What the umask leaves of it. */
const ANYBODY = 0o777;

/** Opens what a path of any length names. Links in it are followed: it is the user's. */
export function openPath(path: Buffer, flags: number): number {
  const pieces: Buffer[] = [];
  let rest = path;
  while (rest.length > PATH_PIECE_SIZE_MAX) {
    const end = rest.lastIndexOf(SLASH, PATH_PIECE_SIZE_MAX);
    // A name that is too long by itself is refused by the kernel.
    if (end <= 0) break;
    pieces.push(rest.subarray(0, end));
    rest = rest.subarray(end + 1);
  }
  const open = (folder: number, piece: Buffer, how: number): number =>
    check(openat(folder, terminated(piece), how | OPEN_CLOSE_ON_EXEC, 0), 'openat');
  return openChain([...pieces, rest], CURRENT_FOLDER, (folder, piece, isLast) =>
    open(folder, piece, isLast ? flags : OPEN_NAME),
  );
}

/** Opens one after the other in the one before, of which only the last stays open. */
function openChain(
  pieces: readonly Buffer[],
  from: number,
  open: (folder: number, piece: Buffer, isLast: boolean) => number,
): number {
  let folder = from;
  for (const [index, piece] of pieces.entries()) {
    try {
      const opened = open(folder, piece, index === pieces.length - 1);
      if (folder !== from) closeSync(folder);
      folder = opened;
    } catch (error) {
      if (folder !== from) closeSync(folder);
      throw error;
    }
  }
  return folder;
}

/**
 * Makes the folder that a path of any length names, and those above it; false when it was there.
 * `mode` is of the folder itself.
 */
export function makePath(path: Buffer, mode = ANYBODY): boolean {
  const ends: number[] = [];
  for (let at = 0; at < path.length; at++) {
    if (path[at] === SLASH && at > 0) ends.push(at);
  }
  for (const end of ends) makeUnlessThere(path, end, ANYBODY);
  return makeUnlessThere(path, path.length, mode);
}

function makeUnlessThere(path: Buffer, end: number, mode: number): boolean {
  const start = path.lastIndexOf(SLASH, end - 1) + 1;
  const name = path.subarray(start, end);
  if (name.length === 0) return false;
  const above = openPath(start === 0 ? Buffer.from('.') : path.subarray(0, start), OPEN_NAME);
  try {
    makeFolderAt(above, name, mode);
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    closeSync(above);
  }
}

/** The names in a folder, in the order of their bytes, each once. */
export function namesIn(folder: number): Buffer[] {
  const names = readdirSync(`/proc/self/fd/${folder}`, { encoding: 'buffer' });
  names.sort((a, b) => Buffer.compare(a, b));
  return names.filter((name, index) => index === 0 || !name.equals(names[index - 1]!));
}

export function makeFolderAt(folder: number, name: Buffer, mode: number): void {
  check(mkdirat(folder, terminated(name), mode), 'mkdirat');
}

/** Makes a fifo, socket or device node; `mode` holds the type and the permissions. */
export function makeNodeAt(folder: number, name: Buffer, mode: number, deviceNumber: bigint): void {
  check(mknodat(folder, terminated(name), mode, deviceNumber), 'mknodat');
}

export function makeLinkAt(folder: number, name: Buffer, target: Buffer): void {
  check(symlinkat(terminated(target), folder, terminated(name)), 'symlinkat');
}

const linkBuffer = Buffer.alloc(LINK_SIZE_BYTES);

export function readLinkAt(folder: number, name: Buffer): Buffer {
  const length = check(
    readlinkat(folder, terminated(name), linkBuffer, linkBuffer.length),
    'readlinkat',
  );
  return Buffer.from(linkBuffer.subarray(0, length));
}

/** A name in an open folder. */
export interface NameIn {
  readonly folder: number;
  readonly name: Buffer;
}

/** Gives a file another name. */
export function linkAt(existing: NameIn, made: NameIn): void {
  const [from, to] = [terminated(existing.name), terminated(made.name)];
  check(linkat(existing.folder, from, made.folder, to, 0), 'linkat');
}

export function renameAt(folder: number, from: Buffer, to: Buffer): void {
  check(renameat(folder, terminated(from), folder, terminated(to)), 'renameat');
}

/** Fails with `EEXIST` where there is something of the name; with `EINVAL` where nobody knows how. */
export function renameToNew(from: Buffer, to: Buffer, folder = CURRENT_FOLDER): void {
  const [source, target] = [terminated(from), terminated(to)];
  check(renameat2(folder, source, folder, target, RENAME_NO_REPLACE), 'renameat2');
}

export function removeAt(folder: number, name: Buffer): void {
  check(unlinkat(folder, terminated(name), 0), 'unlinkat');
}

/** Of what is open as a name only (`OPEN_NAME`), if it is a link. */
export function setOwnerOfNamed(fd: number, userId: number, groupId: number): void {
  check(fchownat(fd, EMPTY, userId, groupId, EMPTY_PATH), 'fchownat');
}

/** Sets the time of modification, in ns since 1970. */
export function setModifiedAt(folder: number, name: Buffer, modifiedNs: bigint): void {
  const times = modifiedTimes(modifiedNs);
  check(utimensat(folder, terminated(name), times, NO_FOLLOW), 'utimensat');
}

/** The same of an open file. */
export function setModifiedOf(fd: number, modifiedNs: bigint): void {
  check(futimens(fd, modifiedTimes(modifiedNs)), 'futimens');
}

/** The same of what is open as a name only, if it is a link. */
export function setModifiedOfNamed(fd: number, modifiedNs: bigint): void {
  const path = terminated(Buffer.from(`/proc/self/fd/${fd}`));
  check(utimensat(CURRENT_FOLDER, path, modifiedTimes(modifiedNs), 0), 'utimensat');
}

const UTIME_OMIT = 0x3ffffffen;
const SECONDS_MAX = 2n ** 63n - 1n;

/** Seconds that no kernel can count are the last that it can, on either side. */
function modifiedTimes(modifiedNs: bigint): Buffer {
  const times = Buffer.alloc(32);
  times.writeBigInt64LE(UTIME_OMIT, 8);
  const nanoseconds = ((modifiedNs % SECOND_NS) + SECOND_NS) % SECOND_NS;
  const seconds = (modifiedNs - nanoseconds) / SECOND_NS;
  const after = seconds < -SECONDS_MAX ? -SECONDS_MAX : seconds;
  times.writeBigInt64LE(after > SECONDS_MAX ? SECONDS_MAX : after, 16);
  times.writeBigInt64LE(nanoseconds, 24);
  return times;
}

/** A path of the name for calls that take none of this, as those for attributes. */
export function pathAt(folder: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${folder}/`), name]);
}

const EMPTY = Buffer.alloc(1);

/** Fails with `EINVAL` for what would end at a zero byte, and name something else. */
function terminated(text: Buffer): Buffer {
  if (!text.includes(0)) return Buffer.concat([text, EMPTY]);
  throw Object.assign(new Error('EINVAL: a zero byte in a name'), { code: 'EINVAL' });
}

function check(result: unknown, syscall: string): number {
  const code = Number(result);
  if (code < 0) throw new SystemError(syscall);
  return code;
}
