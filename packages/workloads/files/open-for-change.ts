/**
 * Opens files and folders of a target for writing. One of ours that lacks the right gets it for as long
 * as it is open.
 */
import { accessSync, chmodSync, closeSync, constants, fchmodSync, openSync } from 'node:fs';
import { systemErrorCode } from '@coffer/base';
import {
  type FileStats,
  type NameIn,
  OPEN_FOLDER,
  OPEN_NAME,
  OPEN_READ,
  openAt,
  statOf,
} from '@coffer/base/folder-calls.ts';

/** Of what is made, until it gets its own. */
export const FOLDER_RIGHTS = 0o700;
export const FILE_RIGHTS = 0o600;

/** What is open for writing; `modeBefore` is what its owner has to get back. */
export interface Opened {
  readonly fd: number;
  readonly modeBefore: number | undefined;
}

/** Gives what was opened its mode back. */
export function giveBack({ fd, modeBefore }: Opened): void {
  if (modeBefore === undefined) return;
  try {
    fchmodSync(fd, modeBefore);
  } catch {
    // Who may not do that any more is not its owner any more.
  }
}

export function leave(opened: Opened): void {
  giveBack(opened);
  closeSync(opened.fd);
}

/** A folder that is there, with the right to change it where that is ours to give. */
export function openFolder(folder: number, name: Buffer): Opened {
  const opened = openForChange({ folder, name }, FOLDER_RIGHTS, (from, opens) =>
    openAt(from, opens, OPEN_READ | OPEN_FOLDER),
  );
  if (opened.modeBefore !== undefined || isWritable(opened.fd)) return opened;
  const stats = statOf(opened.fd);
  if (!isOurs(stats)) return opened;
  try {
    fchmodSync(opened.fd, stats.mode | FOLDER_RIGHTS);
    return { fd: opened.fd, modeBefore: stats.mode };
  } catch {
    // What is written in it says what is wrong.
    return opened;
  }
}

function isWritable(fd: number): boolean {
  try {
    accessSync(`/proc/self/fd/${fd}`, constants.W_OK | constants.X_OK);
    return true;
  } catch (error) {
    // A file system that is read-only says so when something is written.
    return systemErrorCode(error) !== 'EACCES';
  }
}

function isOurs({ userId }: FileStats): boolean {
  return userId === process.geteuid?.();
}

/** Opens by `open`; what its owner may not open gets these rights first, when the owner is us. */
export function openForChange(
  { folder, name }: NameIn,
  rights: number,
  open: (folder: number, name: Buffer) => number,
): Opened {
  try {
    return { fd: open(folder, name), modeBefore: undefined };
  } catch (error) {
    if (systemErrorCode(error) !== 'EACCES') throw error;
    return openWithRights({ folder, name }, rights, error);
  }
}

function openWithRights({ folder, name }: NameIn, rights: number, refusal: unknown): Opened {
  const named = openAt(folder, name, OPEN_NAME);
  try {
    const stats = statOf(named);
    const isChangeable = stats.type === 'file' || stats.type === 'directory';
    if (!isOurs(stats) || !isChangeable) throw refusal;
    const path = `/proc/self/fd/${named}`;
    chmodSync(path, stats.mode | rights);
    try {
      const flags = stats.type === 'file' ? constants.O_RDWR : constants.O_DIRECTORY;
      return { fd: openSync(path, flags), modeBefore: stats.mode };
    } catch (error) {
      chmodSync(path, stats.mode);
      throw error;
    }
  } finally {
    closeSync(named);
  }
}
