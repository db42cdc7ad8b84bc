/**
 * System calls that Node does not offer. They are called in the C library that the process has
 * loaded anyway. Linux only.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';

const library = koffi.load(null);
const lseek = library.func('int64_t lseek(int fd, int64_t offset, int whence)');
const fallocate = library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const syncFileRange = library.func(
  'int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)',
);
const preadv2 = library.func(
  'int64_t preadv2(int fd, void *vector, int count, int64_t offset, int flags)',
);
const fcntl = library.func('int fcntl(int fd, int command, ...)');
const flock = library.func('int flock(int fd, int operation)');
const setsockopt = library.func(
  'int setsockopt(int fd, int level, int name, void *value, uint32_t length)',
);
const recv = library.func('int64_t recv(int fd, void *target, size_t length, int flags)');
const madvise = library.func('int madvise(uintptr_t address, size_t length, int advice)');
const llistxattr = library.func('int64_t llistxattr(void *path, void *list, size_t size)');
const lgetxattr = library.func(
  'int64_t lgetxattr(void *path, void *name, void *value, size_t size)',
);
const lsetxattr = library.func(
  'int lsetxattr(void *path, void *name, void *value, size_t size, int flags)',
);

const fremovexattr = library.func('int fremovexattr(int fd, void *name)');
const removexattr = library.func('int removexattr(void *path, void *name)');
const setxattr = library.func(
  'int setxattr(void *path, void *name, void *value, size_t size, int flags)',
);
const fsetxattr = library.func(
  'int fsetxattr(int fd, void *name, void *value, size_t size, int flags)',
);

/** MADV_DONTNEED: of a file's mapping, it forgets the addresses and keeps the page cache. */
const DONT_NEED = 4;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
/** SYNC_FILE_RANGE_WRITE: begins to write back, and does not wait for it. */
const BEGIN_WRITE_BACK = 2;
/** RWF_NOWAIT: reads what is in memory, and does not wait for a disk. */
const READ_NO_WAIT = 8;
/** F_OFD_GETLK: asks who would be in the way of a lock. */
const LOCK_QUERY = 36;
const LOCK_WRITE = 1;
const LOCK_NONE = 2;
/** LOCK_SH, LOCK_EX, and LOCK_EX | LOCK_NB. */
const LOCK_SHARED = 1;
const LOCK_ALONE = 2;
const LOCK_ALONE_NOW = 2 | 4;
/** LOCK_UN. */
const LOCK_GIVEN_BACK = 8;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
/** MSG_DONTWAIT: takes what is there, and does not wait for more. */
const RECEIVE_NO_WAIT = 0x40;
const ATTRIBUTE_LIST_BYTES_MAX = 64 * 1024;
const ATTRIBUTE_VALUE_BYTES_MAX = 64 * 1024;

/** A failed system call, in the form of Node's own. */
export class SystemError extends Error {
  readonly code: string;
  readonly syscall: string;

  constructor(syscall: string) {
    const errno = koffi.errno();
    const code = errnoName(errno);
    super(`${code}: ${syscall}`);
    this.code = code;
    this.syscall = syscall;
  }
}

/** Size of a file or block device in bytes, by seeking to its end. */
export function sizeOf(fd: number): number {
  return check(lseek(fd, 0, SEEK_END), 'lseek');
}

/** What direct input and output asks of offsets, lengths and addresses; devices ask for less. */
export const DIRECT_ALIGNMENT_BYTES = 4096;

/** Shared memory that begins at an address that direct input and output takes. */
export function alignedSharedBuffer(sizeBytes: number): Buffer {
  return aligned(new SharedArrayBuffer(sizeBytes + DIRECT_ALIGNMENT_BYTES)).subarray(0, sizeBytes);
}

/** The part of the memory that begins at an address that direct input and output takes. */
export function aligned(memory: ArrayBufferLike): Buffer {
  const bytes = Buffer.from(memory);
  const excess = Number(koffi.address(bytes) % BigInt(DIRECT_ALIGNMENT_BYTES));
  return bytes.subarray(excess === 0 ? 0 : DIRECT_ALIGNMENT_BYTES - excess);
}

/** True when direct input and output takes these bytes at this offset. */
export function isDirectlyWritable(bytes: Uint8Array, offset: number): boolean {
  if (offset % DIRECT_ALIGNMENT_BYTES !== 0 || bytes.length % DIRECT_ALIGNMENT_BYTES !== 0) {
    return false;
  }
  return koffi.address(bytes) % BigInt(DIRECT_ALIGNMENT_BYTES) === 0n;
}

/**
 * Gives back what this process has mapped of a file that it reads through memory; what is needed
 * again is mapped again, from the page cache. For mappings that only read.
 */
export function releaseMappedPages(path: string): void {
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    if (!line.endsWith(path)) continue;
    const match = /^([0-9a-f]+)-([0-9a-f]+) r--/.exec(line);
    if (!match) continue;
    const start = BigInt(`0x${match[1]}`);
    madvise(start, BigInt(`0x${match[2]}`) - start, DONT_NEED);
  }
}

/** The place of one buffer, as preadv2 wants it: address and length. */
const readVector = new BigUint64Array(2);

/**
 * Reads what the page cache holds, and returns how many bytes that were: none where it would have to
 * wait, or where the file system cannot tell.
 */
export function readFromPageCache(fd: number, offset: number, target: Uint8Array): number {
  readVector[0] = koffi.address(target);
  readVector[1] = BigInt(target.length);
  return Math.max(0, Number(preadv2(fd, readVector, 1, offset, READ_NO_WAIT)));
}

/** True when another process holds a lock on these bytes of a file (fcntl(2), open file description). */
export function isLocked(fd: number, offset: number, length: number): boolean {
  // struct flock: type, whence, start, length, process.
  const lock = Buffer.alloc(32);
  lock.writeInt16LE(LOCK_WRITE, 0);
  lock.writeBigInt64LE(BigInt(offset), 8);
  lock.writeBigInt64LE(BigInt(length), 16);
  return fcntl(fd, LOCK_QUERY, 'void *', lock) === 0 && lock.readInt16LE(0) !== LOCK_NONE;
}

/**
 * Takes an open file for whoever has opened it (flock(2)), until it is closed, if only by the end of
 * the process; false when another one has it.
 */
export function tryToLock(fd: number): boolean {
  if (flock(fd, LOCK_ALONE_NOW) === 0) return true;
  // The same number as EWOULDBLOCK.
  if (errnoName(koffi.errno()) === 'EAGAIN') return false;
  throw new SystemError('flock');
}

/**
 * The same, together with others that share it, or alone; it waits, so others hold the file briefly.
 * One that is held already is changed, and others may come in between.
 */
export function lock(fd: number, how: 'shared' | 'alone'): void {
  for (;;) {
    if (flock(fd, how === 'shared' ? LOCK_SHARED : LOCK_ALONE) === 0) return;
    if (errnoName(koffi.errno()) !== 'EINTR') throw new SystemError('flock');
  }
}

/** Gives back what was locked; closing the file does so as well. */
export function unlock(fd: number): void {
  flock(fd, LOCK_GIVEN_BACK);
}

/** Asks for so much memory for what a socket sends; the system may give less. */
export function setSendBufferSize(fd: number, sizeBytes: number): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(sizeBytes);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, value, value.length);
}

/** Takes what a socket has received by now; returns the number of bytes, 0 after an error or the end. */
export function receiveNow(fd: number, target: Uint8Array): number {
  return Math.max(0, Number(recv(fd, target, target.length, RECEIVE_NO_WAIT)));
}

/** A run of data in a sparse file, in bytes. */
export interface DataRun {
  readonly offset: number;
  readonly length: number;
}

/** The next run of data from `offset` on; undefined when only a hole follows. */
export function nextData(fd: number, offset: number, endOffset: number): DataRun | undefined {
  const start = Number(lseek(fd, offset, SEEK_DATA));
  if (start < 0) {
    if (errnoName(koffi.errno()) === 'ENXIO') return undefined;
    // The file system does not tell: all may be data.
    return offset < endOffset ? { offset, length: endOffset - offset } : undefined;
  }
  if (start >= endOffset) return undefined;
  const end = Number(lseek(fd, start, SEEK_HOLE));
  return { offset: start, length: (end < 0 ? endOffset : Math.min(end, endOffset)) - start };
}

/**
 * Begins to write a range of a file back to its disk, so that a later sync finds little to do. It is
 * a hint: where the file system does not take it, nothing happens.
 */
export async function beginWriteBack(fd: number, offset: number, length: number): Promise<void> {
  await new Promise<void>((resolve) => {
    try {
      // It may wait for a busy disk, so it runs beside the thread that asks.
      syncFileRange.async(fd, offset, length, BEGIN_WRITE_BACK, () => resolve());
    } catch {
      // Too many calls are under way.
      resolve();
    }
  });
}

/** Makes a range of a file a hole, where the file system can; false where it cannot. */
export function punchHole(fd: number, offset: number, length: number): boolean {
  return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) === 0;
}

const listBuffer = Buffer.alloc(ATTRIBUTE_LIST_BYTES_MAX);
const valueBuffer = Buffer.alloc(ATTRIBUTE_VALUE_BYTES_MAX);

/**
 * Names of the extended attributes; none where the file system has none. Fails with `E2BIG` when a
 * file has more than the kernel lists.
 */
export function listAttributes(path: Buffer): Buffer[] {
  const length = Number(llistxattr(terminated(path), listBuffer, listBuffer.length));
  if (length < 0) {
    const error = new SystemError('llistxattr');
    // Both names have one number.
    if (error.code === 'ENOTSUP' || error.code === 'EOPNOTSUPP') return [];
    throw error;
  }
  const names: Buffer[] = [];
  for (let start = 0; start < length;) {
    const end = listBuffer.indexOf(0, start);
    names.push(Buffer.from(listBuffer.subarray(start, end)));
    start = end + 1;
  }
  names.sort((a, b) => a.compare(b));
  return names.filter((name, index) => index === 0 || !name.equals(names[index - 1]!));
}

/** Undefined when the attribute has vanished. Fails when it may not be read, or is too long. */
export function getAttribute(path: Buffer, name: Buffer): Buffer | undefined {
  const length = Number(
    lgetxattr(terminated(path), terminated(name), valueBuffer, valueBuffer.length),
  );
  if (length >= 0) return Buffer.from(valueBuffer.subarray(0, length));
  const error = new SystemError('lgetxattr');
  if (error.code === 'ENODATA') return undefined;
  throw error;
}

export function setAttribute(path: Buffer, name: Buffer, value: Buffer): void {
  check(lsetxattr(terminated(path), terminated(name), value, value.length, 0), 'lsetxattr');
}

export function setAttributeOfFile(fd: number, name: Buffer, value: Buffer): void {
  check(fsetxattr(fd, terminated(name), value, value.length, 0), 'fsetxattr');
}

/** Nothing happens where there is none. */
export function removeAttributeOfFile(fd: number, name: Buffer): void {
  fremovexattr(fd, terminated(name));
}

/** Of what is open as a name only, if it is a link. Linux follows that to itself, and no further. */
export function setAttributeOfNamed(fd: number, name: Buffer, value: Buffer): void {
  const path = terminated(pathOfNamed(fd));
  check(setxattr(path, terminated(name), value, value.length, 0), 'setxattr');
}

/** The same: nothing happens where there is none. */
export function removeAttributeOfNamed(fd: number, name: Buffer): void {
  removexattr(terminated(pathOfNamed(fd)), terminated(name));
}

function pathOfNamed(fd: number): Buffer {
  return Buffer.from(`/proc/self/fd/${fd}`);
}

const ZERO_BYTE = Buffer.alloc(1);

function terminated(text: Buffer): Buffer {
  return Buffer.concat([text, ZERO_BYTE]);
}

function check(result: unknown, syscall: string): number {
  const code = Number(result);
  if (code < 0) throw new SystemError(syscall);
  return code;
}

/** Of two names of one number, the first. */
const ERRNO_NAMES = new Map(
  Object.entries(koffi.os.errno)
    .reverse()
    .map(([name, value]) => [value, name]),
);

function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
}
