/**
 * The locks that QEMU holds on image files (QEMU's documentation, "Image locking"): a program that
 * writes to an image holds a lock on the byte at 101, whatever the format.
 */
import { closeSync, openSync } from 'node:fs';
import { CofferError, systemErrorCode } from '@coffer/base';
import { isLocked } from '@coffer/base/libc.ts';

/** 100 is the base of locks that say what a program does; bit 1 of its permissions is writing. */
const WRITING_LOCK_OFFSET = 101;

/** Fails with `source-not-found`, or with `image-busy` when a machine or a tool writes to the image. */
export function refuseBusy(path: string): void {
  const fd = openExisting(path);
  try {
    if (!isLocked(fd, WRITING_LOCK_OFFSET, 1)) return;
  } finally {
    closeSync(fd);
  }
  throw new CofferError('image-busy', { path, reason: 'a virtual machine or a tool writes to it' });
}

/** Fails with `source-not-found` or `source-unreadable`. */
export function openExisting(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const reason = systemErrorCode(error);
    const code = reason === 'ENOENT' ? 'source-not-found' : 'source-unreadable';
    throw new CofferError(code, { path, reason }, error);
  }
}
