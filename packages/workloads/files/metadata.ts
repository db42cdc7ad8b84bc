/** What the file system says of one name: all that is protected of a file but its content. */
import { type BigIntStats, lstatSync, readlinkSync } from 'node:fs';
import {
  type ExtendedAttribute,
  type FileMetadata,
  type FileType,
  isOnNetworkFileSystem,
} from '@coffer/base';
import { getAttribute, listAttributes } from '@coffer/base/libc.ts';

const SLASH = Buffer.from('/');

/** The path of a name in a folder; names are bytes, so paths are too. */
export function joinPath(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, SLASH, name]);
}

/** Cheap to get, and enough to see that a file has not changed. */
export function readStats(path: Buffer): BigIntStats {
  return lstatSync(path, { bigint: true });
}

/** Undefined for a type that no file system is known to have. */
export function fileTypeOf(stats: BigIntStats): FileType | undefined {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isSocket()) return 'socket';
  if (stats.isCharacterDevice()) return 'character-device';
  if (stats.isBlockDevice()) return 'block-device';
  return undefined;
}

/** Fails as system calls do, when the file vanished or may not be read. */
export function readMetadata(
  path: Buffer,
  name: Buffer,
  stats: BigIntStats,
  type: FileType,
): FileMetadata {
  const isDevice = type === 'character-device' || type === 'block-device';
  const isShared = stats.nlink > 1n && type !== 'directory';
  return {
    name,
    type,
    mode: Number(stats.mode & 0o7777n),
    userId: Number(stats.uid),
    groupId: Number(stats.gid),
    modifiedNs: stats.mtimeNs,
    changedNs: stats.ctimeNs,
    inode: stats.ino,
    sizeBytes: type === 'file' ? Number(stats.size) : 0,
    hardLink: isShared ? { device: stats.dev, inode: stats.ino } : undefined,
    linkTarget: type === 'symlink' ? readlinkSync(path, { encoding: 'buffer' }) : undefined,
    deviceNumber: isDevice ? stats.rdev : undefined,
    extendedAttributes: readAttributes(path),
  };
}

function readAttributes(path: Buffer): ExtendedAttribute[] {
  const attributes: ExtendedAttribute[] = [];
  for (const name of listAttributes(path)) {
    const value = getAttribute(path, name);
    if (value) attributes.push({ name, value });
  }
  return attributes;
}

/** Times of file systems that keep whole seconds: of ext4 with small inodes, FAT has two. */
const COARSE_NS = 2_000_000_000n;
/** Linux before 6.13 takes the time of a file from its last tick, 10 ms at most. */
const FINE_NS = 20_000_000n;
const SECOND_NS = 1_000_000_000n;
/** So much later than the clock of a file server may ours be, which says when a point was taken. */
const CLOCK_DOUBT_NS = 3600n * SECOND_NS;

/**
 * How much earlier than it says a point may have been taken, by the clock that stamps this file: on a
 * file system that machines share, that is the clock of another one.
 */
export function clockDoubtNs(
  path: Buffer,
  isShared: (path: Buffer) => boolean = isOnNetworkFileSystem,
): bigint {
  try {
    return isShared(path) ? CLOCK_DOUBT_NS : 0n;
  } catch {
    // It has vanished: then it is not compared either.
    return CLOCK_DOUBT_NS;
  }
}

/**
 * True when a file has the content and metadata that it had in the point that `before` is of. One
 * that was as young as times are coarse when that was taken (ns since 1970) may have been changed
 * again after it was read, and have the same times.
 */
export function isUnchanged(
  before: FileMetadata,
  stats: BigIntStats,
  beforeTakenAtNs: bigint,
): boolean {
  // Anybody can set the time of modification; that of the change is the system's.
  const granuleNs = before.changedNs % SECOND_NS === 0n ? COARSE_NS : FINE_NS;
  return (
    before.changedNs + granuleNs < beforeTakenAtNs &&
    before.type === 'file' &&
    stats.isFile() &&
    before.modifiedNs === stats.mtimeNs &&
    before.changedNs === stats.ctimeNs &&
    before.inode === stats.ino &&
    BigInt(before.sizeBytes) === stats.size
  );
}
