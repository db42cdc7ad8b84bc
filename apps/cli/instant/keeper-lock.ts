/** A machine is kept by one process, which has this lock as long as it lives. */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { systemErrorCode } from '@coffer/base';
import { tryToLock } from '@coffer/base/libc.ts';

/** Makes this process the one; false when there is another one. */
export function becomeKeeper(runFolder: string): boolean {
  return takenLock(runFolder) !== undefined;
}

export function isKept(runFolder: string): boolean {
  try {
    const fd = takenLock(runFolder);
    if (fd !== undefined) closeSync(fd);
    return fd === undefined;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

function takenLock(runFolder: string): number | undefined {
  const fd = openSync(join(runFolder, 'lock'), 'a', 0o600);
  if (tryToLock(fd)) return fd;
  closeSync(fd);
  return undefined;
}
