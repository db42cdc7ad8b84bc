/** Folders that a restore makes for the files of a machine. */
import { chmodSync, chownSync, mkdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemErrorCode } from '@coffer/base';

/** Nobody else writes into a folder of a machine, whoever may write into the one above it. */
const OWNER_WRITES = 0o755;

/**
 * A folder that was made when it was not there. It goes again, unless it is kept or something is in it.
 */
export class MadeFolder implements Disposable {
  readonly #path: string | undefined;
  #isKept = false;

  /** Fails with a system error where there is no folder that it could be in. */
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
 * same: libvirt and QEMU have to find what is below it.
 */
export function makeFolder(path: string): void {
  const first = mkdirSync(path, { recursive: true });
  if (first === undefined) return;
  const { uid, gid, mode } = statSync(dirname(first));
  for (let folder = path; ; folder = dirname(folder)) {
    chmodSync(folder, mode & OWNER_WRITES);
    if (process.getuid?.() === 0) chownSync(folder, uid, gid);
    if (folder === first) return;
  }
}
