/**
 * The messages of the Linux FUSE protocol 7.x, as `include/uapi/linux/fuse.h` names them. Integers
 * have the byte order of the machine; Node runs on little-endian machines only.
 */
import type { FileMetadata, FileType } from '@coffer/base';

/** The minor version that these messages have: Linux 5.4. Newer kernels keep to it. */
const MINOR_VERSION = 31;
/** The oldest minor version whose messages have the sizes used here and that has `max_pages`. */
const MINOR_VERSION_MIN = 28;

/** `enum fuse_opcode`, as far as it is answered with more than an error. */
export const OPCODE = {
  lookup: 1,
  forget: 2,
  getAttributes: 3,
  readLink: 5,
  open: 14,
  read: 15,
  statFileSystem: 17,
  release: 18,
  getExtendedAttribute: 22,
  listExtendedAttributes: 23,
  flush: 25,
  init: 26,
  openFolder: 27,
  readFolder: 28,
  releaseFolder: 29,
  access: 34,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  readFolderPlus: 44,
} as const;

/**
 * SETATTR, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, WRITE, SETXATTR, REMOVEXATTR, CREATE,
 * FALLOCATE, RENAME2, COPY_FILE_RANGE and TMPFILE.
 */
export const WRITING_OPCODES: ReadonlySet<number> = new Set([
  4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51,
]);

/** Numbers of errors, the same on all of Linux that Node runs on. */
export const ERRNO = {
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  ENOTDIR: 20,
  EINVAL: 22,
  EROFS: 30,
  ERANGE: 34,
  ENOSYS: 38,
  ENODATA: 61,
  EPROTO: 71,
  ESTALE: 116,
} as const;

export const ROOT_NODE_ID = 1;
const IN_HEADER_BYTES = 40;
const OUT_HEADER_BYTES = 16;
/** Bytes of a request at most: FORGETs in a batch fill it, nothing else is near it. */
export const REQUEST_BYTES_MAX = 64 * 1024;

/** Contents never change, so that the kernel may keep names and attributes for a year. */
const VALID_SECONDS = 365n * 24n * 3600n;
/** An inode number that is not known in a listing (`FUSE_UNKNOWN_INO`). */
export const UNKNOWN_INODE = 0xffff_ffffn;

/** `struct fuse_in_header`, and what follows it. */
export interface Request {
  readonly opcode: number;
  readonly unique: bigint;
  readonly nodeId: number;
  /** Valid until the next request is read. */
  readonly body: Buffer;
}

/** Undefined for what is no whole request. */
export function decodeRequest(bytes: Buffer): Request | undefined {
  if (bytes.length < IN_HEADER_BYTES || bytes.readUInt32LE(0) !== bytes.length) return undefined;
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    nodeId: readNumber(bytes, 16),
    body: bytes.subarray(IN_HEADER_BYTES),
  };
}

/** `struct fuse_out_header`; `errno` is 0 or the number of an error. */
export function encodeAnswerHeader(unique: bigint, errno: number, bodyBytes: number): Buffer {
  const header = Buffer.allocUnsafe(OUT_HEADER_BYTES);
  header.writeUInt32LE(OUT_HEADER_BYTES + bodyBytes, 0);
  header.writeInt32LE(-errno, 4);
  header.writeBigUInt64LE(unique, 8);
  return header;
}

/** Flags of INIT: what is asked for where the kernel offers it. */
const ASYNC_READ = 1 << 0;
const DO_READDIRPLUS = 1 << 13;
const READDIRPLUS_AUTO = 1 << 14;
const NO_OPEN_SUPPORT = 1 << 17;
const PARALLEL_DIROPS = 1 << 18;
const ABORT_ERROR = 1 << 21;
const MAX_PAGES = 1 << 22;
const CACHE_SYMLINKS = 1 << 23;
const WANTED_FLAGS =
  ASYNC_READ |
  DO_READDIRPLUS |
  READDIRPLUS_AUTO |
  NO_OPEN_SUPPORT |
  PARALLEL_DIROPS |
  ABORT_ERROR |
  MAX_PAGES |
  CACHE_SYMLINKS;

/** Pages of one read at most, the most that kernels allow by themselves: 1 MiB. */
const PAGES_MAX = 256;
/** Reads ahead of need that the kernel keeps under way, and when it calls the device congested. */
const BACKGROUND_MAX = 32;
/** The least that the protocol has; nothing is ever written. */
const WRITE_BYTES_MAX = 4096;

export interface Negotiation {
  readonly answer: Buffer;
  /** Files need not be opened: the kernel takes ENOSYS to OPEN as "always works". */
  readonly noOpenNeeded: boolean;
}

/** `struct fuse_init_in` to `struct fuse_init_out`; undefined when the kernel is too old. */
export function negotiate(body: Buffer): Negotiation | undefined {
  if (body.length < 16) return undefined;
  const major = body.readUInt32LE(0);
  const minor = body.readUInt32LE(4);
  if (major < 7 || (major === 7 && minor < MINOR_VERSION_MIN)) return undefined;
  const flags = (body.readUInt32LE(12) & WANTED_FLAGS) >>> 0;
  const answer = Buffer.alloc(64);
  answer.writeUInt32LE(7, 0);
  answer.writeUInt32LE(Math.min(minor, MINOR_VERSION), 4);
  answer.writeUInt32LE(body.readUInt32LE(8), 8);
  answer.writeUInt32LE(flags, 12);
  answer.writeUInt16LE(BACKGROUND_MAX, 16);
  answer.writeUInt16LE((BACKGROUND_MAX * 3) / 4, 18);
  answer.writeUInt32LE(WRITE_BYTES_MAX, 20);
  answer.writeUInt32LE(1, 24);
  answer.writeUInt16LE(PAGES_MAX, 28);
  return { answer, noOpenNeeded: (flags & NO_OPEN_SUPPORT) !== 0 };
}

/** A name that ends with a zero byte, as a copy; undefined where none does. */
export function decodeName(body: Buffer): Buffer | undefined {
  const end = body.indexOf(0);
  return end < 0 ? undefined : Buffer.from(body.subarray(0, end));
}

export interface Forgotten {
  readonly nodeId: number;
  readonly lookupCount: number;
}

/** `struct fuse_forget_in`. */
export function decodeForget({ nodeId, body }: Request): Forgotten[] {
  return body.length < 8 ? [] : [{ nodeId, lookupCount: readNumber(body, 0) }];
}

/** `struct fuse_batch_forget_in`, and a `struct fuse_forget_one` for each node. */
export function decodeBatchForget({ body }: Request): Forgotten[] {
  const forgotten: Forgotten[] = [];
  const count = body.length < 8 ? 0 : body.readUInt32LE(0);
  for (let index = 0, at = 8; index < count && at + 16 <= body.length; index++, at += 16) {
    forgotten.push({ nodeId: readNumber(body, at), lookupCount: readNumber(body, at + 8) });
  }
  return forgotten;
}

export interface ReadRequest {
  readonly handle: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** `struct fuse_read_in`, of READ, READDIR and READDIRPLUS. */
export function decodeRead(body: Buffer): ReadRequest | undefined {
  if (body.length < 20) return undefined;
  const sizeBytes = Math.min(body.readUInt32LE(16), PAGES_MAX * 4096);
  return { handle: readNumber(body, 0), offset: readNumber(body, 8), sizeBytes };
}

/** `struct fuse_release_in`: only the handle is needed. */
export function decodeRelease(body: Buffer): number | undefined {
  return body.length < 8 ? undefined : readNumber(body, 0);
}

/** `struct fuse_interrupt_in`: the request that nobody waits for any more. */
export function decodeInterrupt(body: Buffer): bigint | undefined {
  return body.length < 8 ? undefined : body.readBigUInt64LE(0);
}

/** `struct fuse_getxattr_in` of GETXATTR and LISTXATTR; `sizeBytes` 0 asks for the size. */
export function decodeAttributeRequest(
  body: Buffer,
): { sizeBytes: number; name: Buffer } | undefined {
  if (body.length < 8) return undefined;
  return { sizeBytes: body.readUInt32LE(0), name: decodeName(body.subarray(8)) ?? Buffer.alloc(0) };
}

/** `struct fuse_getxattr_out`. */
export function encodeAttributeSize(sizeBytes: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeUInt32LE(sizeBytes, 0);
  return out;
}

/** FOPEN_KEEP_CACHE, and FOPEN_CACHE_DIR, which files do not mind. */
const OPEN_FLAGS = (1 << 1) | (1 << 3);

/** `struct fuse_open_out`. */
export function encodeOpen(handle: number): Buffer {
  const out = Buffer.alloc(16);
  writeNumber(out, handle, 0);
  out.writeUInt32LE(OPEN_FLAGS, 8);
  return out;
}

/** `struct fuse_statfs_out`: sizes are not known, names are at most 255 bytes long. */
export function encodeStatFileSystem(): Buffer {
  const out = Buffer.alloc(80);
  out.writeUInt32LE(4096, 40);
  out.writeUInt32LE(255, 44);
  out.writeUInt32LE(4096, 48);
  return out;
}

/** `struct fuse_attr_out`. */
export function encodeAttributes(metadata: FileMetadata): Buffer {
  const out = Buffer.alloc(16 + 88);
  out.writeBigUInt64LE(VALID_SECONDS, 0);
  writeAttributes(out, metadata, 16);
  return out;
}

/** Length of a `struct fuse_entry_out`. */
export const ENTRY_BYTES = 40 + 88;

/** `struct fuse_entry_out`; without a node it says, for as long, that there is no such name. */
export function encodeEntry(nodeId: number, metadata: FileMetadata | undefined): Buffer {
  const out = Buffer.alloc(ENTRY_BYTES);
  writeNumber(out, nodeId, 0);
  out.writeBigUInt64LE(VALID_SECONDS, 16);
  out.writeBigUInt64LE(VALID_SECONDS, 24);
  if (metadata) writeAttributes(out, metadata, 40);
  return out;
}

/** `struct fuse_dirent`: `nextOffset` is where a listing goes on behind this name. */
export function encodeListed(
  { name, type, inode }: { name: Buffer; type: FileType; inode: bigint },
  nextOffset: number,
): Buffer {
  const out = Buffer.alloc(Math.ceil((24 + name.length) / 8) * 8);
  out.writeBigUInt64LE(inode, 0);
  writeNumber(out, nextOffset, 8);
  out.writeUInt32LE(name.length, 16);
  out.writeUInt32LE(TYPE_BITS[type] >>> 12, 20);
  name.copy(out, 24);
  return out;
}

/** Names of extended attributes as `listxattr` has them: each ends with a zero byte. */
export function encodeAttributeNames({ extendedAttributes }: FileMetadata): Buffer {
  return Buffer.concat(extendedAttributes.flatMap(({ name }) => [name, Buffer.alloc(1)]));
}

/**
 * The inode number that is shown. Names of one file are told by it, so that the device of a hard
 * link is mixed in: a recovery point can hold files of several devices.
 */
export function shownInode({ inode, hardLink }: FileMetadata): bigint {
  const shown = hardLink ? hardLink.inode + hardLink.device * 0x9e37_79b9_7f4a_7c15n : inode;
  return BigInt.asUintN(64, shown) || UNKNOWN_INODE;
}

/** The file type in `st_mode`; a `struct fuse_dirent` has its upper four bits. */
const TYPE_BITS: Record<FileType, number> = {
  fifo: 0o010000,
  'character-device': 0o020000,
  directory: 0o040000,
  'block-device': 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

const NANOSECONDS = 1_000_000_000n;

/** `struct fuse_attr`. Folders have one link, which says that their folders are not counted. */
function writeAttributes(out: Buffer, metadata: FileMetadata, at: number): void {
  const sizeBytes = metadata.linkTarget?.length ?? metadata.sizeBytes;
  out.writeBigUInt64LE(shownInode(metadata), at);
  writeNumber(out, sizeBytes, at + 8);
  writeNumber(out, Math.ceil(sizeBytes / 512), at + 16);
  writeTime(out, metadata.modifiedNs, at + 24, at + 48);
  writeTime(out, metadata.modifiedNs, at + 32, at + 52);
  writeTime(out, metadata.changedNs, at + 40, at + 56);
  out.writeUInt32LE(TYPE_BITS[metadata.type] | (metadata.mode & 0o7777), at + 60);
  out.writeUInt32LE(metadata.hardLink ? 2 : 1, at + 64);
  out.writeUInt32LE(metadata.userId, at + 68);
  out.writeUInt32LE(metadata.groupId, at + 72);
  out.writeUInt32LE(Number(BigInt.asUintN(32, metadata.deviceNumber ?? 0n)), at + 76);
  out.writeUInt32LE(4096, at + 80);
}

function writeTime(out: Buffer, timeNs: bigint, secondsAt: number, nanosecondsAt: number): void {
  const nanoseconds = ((timeNs % NANOSECONDS) + NANOSECONDS) % NANOSECONDS;
  const seconds = (timeNs - nanoseconds) / NANOSECONDS;
  out.writeBigInt64LE(BigInt.asIntN(64, seconds), secondsAt);
  out.writeUInt32LE(Number(nanoseconds), nanosecondsAt);
}

/** Numbers from the kernel that pass 2^53 name nothing of ours, and lose their last bits. */
function readNumber(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}

function writeNumber(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}
