/** What the file system says of one name: all that is protected of a file but its content. */
import {
  type ExtendedAttribute,
  type FileMetadata,
  type FileType,
  isOnNetworkFileSystem,
} from '@coffer/base';
import { type FileStats, type NameIn, pathAt, readLinkAt } from '@coffer/base/folder-calls.ts';
import { getAttribute, listAttributes } from '@coffer/base/libc.ts';

/** The folder itself, among the names in it. */
export const ITSELF = Buffer.from('.');

/** Told of attributes that cannot be read; the rest of a file is protected without them. */
export type OnUnreadable = (error: unknown) => void;

/** Fails as system calls do, when the file vanished or may not be read. */
export function readMetadata(
  at: NameIn,
  stats: FileStats & { readonly type: FileType },
  onUnreadable: OnUnreadable,
): FileMetadata {
  const { type, mode, userId, groupId, device, inode, modifiedNs, changedNs } = stats;
  const isDevice = type === 'character-device' || type === 'block-device';
  const isShared = stats.linkCount > 1 && type !== 'directory';
  return {
    name: at.name,
    type,
    mode,
    userId,
    groupId,
    modifiedNs,
    changedNs,
    inode,
    sizeBytes: type === 'file' ? Number(stats.sizeBytes) : 0,
    hardLink: isShared ? { device, inode } : undefined,
    linkTarget: type === 'symlink' ? readLinkAt(at.folder, at.name) : undefined,
    deviceNumber: isDevice ? stats.deviceNumber : undefined,
    extendedAttributes: readAttributes(pathAt(at.folder, at.name), onUnreadable),
  };
}

function readAttributes(path: Buffer, onUnreadable: OnUnreadable): ExtendedAttribute[] {
  const names = unlessRefused(() => listAttributes(path), onUnreadable) ?? [];
  const attributes: ExtendedAttribute[] = [];
  for (const name of names) {
    const value = unlessRefused(() => getAttribute(path, name), onUnreadable);
    if (value) attributes.push({ name, value });
  }
  return attributes;
}

function unlessRefused<T>(read: () => T, onUnreadable: OnUnreadable): T | undefined {
  try {
    return read();
  } catch (error) {
    onUnreadable(error);
    return undefined;
  }
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
  file: NameIn,
  isShared: (path: string | Buffer) => boolean = isOnNetworkFileSystem,
): bigint {
  try {
    return isShared(pathAt(file.folder, file.name)) ? CLOCK_DOUBT_NS : 0n;
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
  stats: FileStats,
  beforeTakenAtNs: bigint,
): boolean {
  // Anybody can set the time of modification; that of the change is the system's.
  const granuleNs = before.changedNs % SECOND_NS === 0n ? COARSE_NS : FINE_NS;
  return (
    before.changedNs + granuleNs < beforeTakenAtNs &&
    before.type === 'file' &&
    stats.type === 'file' &&
    before.modifiedNs === stats.modifiedNs &&
    before.changedNs === stats.changedNs &&
    before.inode === stats.inode &&
    BigInt(before.sizeBytes) === stats.sizeBytes
  );
}
