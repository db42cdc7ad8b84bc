/** Folders from which code is run, and whose files are believed: nobody else may write there. */
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** With it, only the owner of a file can replace it. */
const STICKY = 0o1000;
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;

/**
 * Makes the folder, or takes one that is there, for this user alone. Fails, with a reason, when it is
 * not ours, or when another user could put something else in its place.
 */
export function makePrivate(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = realpathSync(folder);
  const stats = statSync(path);
  if (stats.uid !== process.geteuid!()) throw new Error(`it belongs to the user ${stats.uid}`);
  if ((stats.mode & 0o077) !== 0) chmodSync(path, 0o700);
  accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  for (let child = path; dirname(child) !== child; child = dirname(child)) {
    const parent = dirname(child);
    if (!isSafe(statSync(parent))) throw new Error(`other users may write to ${parent}`);
  }
}

/** Where a file may be replaced by its owner, by root and by us only. */
function isSafe({ uid, gid, mode }: Stats): boolean {
  const self = process.geteuid!();
  if (uid !== self && uid !== 0) return false;
  if ((mode & STICKY) !== 0) return true;
  // By the convention of Linux, a group of one user has his number.
  const isOwnGroup = gid === uid || gid === self;
  return (mode & OTHERS_WRITE) === 0 && ((mode & GROUP_WRITES) === 0 || isOwnGroup);
}
