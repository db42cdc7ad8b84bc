/**
 * What this process has just made in a folder that somebody else may write to: he may have put something
 * of his own in its place, or something of others that is to be given to him. So whatever is changed
 * afterwards is changed by a descriptor of what was looked at.
 */
import { closeSync, statfsSync } from 'node:fs';
import type { FileType } from '@coffer/base';
import { type FileStats, type NameIn, namesIn, openAt, statOf } from '@coffer/base/folder-calls.ts';

/** ext2 to ext4, XFS, btrfs, tmpfs, F2FS, ZFS and overlays: what is made there is its maker's. */
const OWNERS_KEPT: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0xf2f52010, 0x2fc12fc1, 0x794c7630,
]);

/** Returns what is to be closed. Fails with `ESTALE` for anything but what was made. */
export function openJustMade({ folder, name }: NameIn, type: FileType, flags: number): number {
  const fd = openAt(folder, name, flags);
  try {
    if (isJustMade(fd, type)) return fd;
    throw Object.assign(new Error('something else took its name'), { code: 'ESTALE' });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function isJustMade(fd: number, type: FileType): boolean {
  const stats = statOf(fd);
  if (stats.type !== type) return false;
  if (type === 'directory' && namesIn(fd).length > 0) return false;
  return isOfMaker(stats) || !keepsOwners(fd);
}

function isOfMaker({ type, userId, linkCount }: FileStats): boolean {
  return userId === process.geteuid?.() && (type === 'directory' || linkCount === 1);
}

function keepsOwners(fd: number): boolean {
  return OWNERS_KEPT.has(statfsSync(`/proc/self/fd/${fd}`).type >>> 0);
}
