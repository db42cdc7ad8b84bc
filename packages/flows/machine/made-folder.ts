/** Folders that a restore makes for the files of a machine. */
import { chmodSync, chownSync, lstatSync, mkdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { CofferError, systemErrorCode } from '@coffer/base';

/** Nobody else writes into a folder of a machine, whoever may write into the one above it. */
const OWNER_WRITES = 0o755;

/**
 * A folder that was made when it was not there. It goes again, unless it is kept or something is in it.
 */
export class MadeFolder implements Disposable {
  readonly #path: string | undefined;
  #isKept = false;

  /** Fails with `target-unwritable` where it cannot be made. */
  constructor(path: string) {
    this.#path = statSync(path, { throwIfNoEntry: false }) ? undefined : path;
    if (this.#path !== undefined) makeFolder(path);
  }

  keep(): void {
    this.#isKept = true;
  }

  [Symbol.dispose](): void {
    if (this.#isKept || this.#path === undefined) return;
    try {
      rmdirSync(this.#path);
    } catch (error) {
      // Something else may have been put there.
      if (systemErrorCode(error) === undefined) throw error;
    }
  }
}

/**
 * With those above it. Each belongs to whom the folder does that it is in, and can be entered by the
 * same: libvirt and QEMU have to find what is below it. Fails with `target-unwritable`.
 */
export function makeFolder(path: string): void {
  const missing: string[] = [];
  for (let at = path; !lstatSync(at, { throwIfNoEntry: false }); at = dirname(at)) missing.push(at);
  try {
    // One by one: where one cannot be made, Node's own way may try for ever.
    for (const folder of missing.toReversed()) makeIn(dirname(folder), folder);
    statSync(path);
  } catch (error) {
    throw new CofferError('target-unwritable', { path, reason: systemErrorCode(error) }, error);
  }
}

function makeIn(parent: string, folder: string): void {
  const { uid, gid, mode } = statSync(parent);
  try {
    mkdirSync(folder);
  } catch (error) {
    // Another restore was faster.
    if (systemErrorCode(error) === 'EEXIST') return;
    throw error;
  }
  chmodSync(folder, mode & OWNER_WRITES);
  if (process.getuid?.() === 0) chownSync(folder, uid, gid);
}
