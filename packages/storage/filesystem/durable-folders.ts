/**
 * Folders whose entries survive a power loss.
 *
 * Invariants:
 * - `sync(folder)` returns after an fsync of the folder that began after the call: what was linked
 *   into it before the call is durable.
 * - `ensure(folder)` returns when the folder and all above it, up to the root, are durable, also
 *   when another process created them a moment ago and has not synced them yet.
 */
import { dirname } from 'node:path';
import { assert, systemErrorCode } from '@coffer/base';
import type { FileCalls } from './calls.ts';

/** Objects hold sealed data, but their names and sizes are nobody else's business either. */
const FOLDER_MODE = 0o700;

/** Folders known at once; when there are more, all are forgotten and made sure of again. */
const FOLDER_COUNT_MAX = 10_000;

export class DurableFolders {
  readonly #root: string;
  readonly #calls: FileCalls;
  readonly #durable = new Map<string, Promise<void>>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #waiting = new Map<string, Promise<void>>();

  constructor(root: string, calls: FileCalls) {
    this.#root = root;
    this.#calls = calls;
  }

  /** Creates the folder where it is missing. The work is done once for each folder. */
  async ensure(folder: string): Promise<void> {
    if (folder === this.#root) return;
    assert(folder.startsWith(this.#root), 'folders of objects lie below the root');
    const known = this.#durable.get(folder) ?? this.#make(folder);
    if (this.#durable.size >= FOLDER_COUNT_MAX) this.#durable.clear();
    this.#durable.set(folder, known);
    try {
      await known;
    } catch (error) {
      this.#durable.delete(folder);
      throw error;
    }
  }

  /** Many calls that wait at once share one fsync. */
  sync(folder: string): Promise<void> {
    const waiting = this.#waiting.get(folder);
    if (waiting) return waiting;
    const before = this.#running.get(folder) ?? Promise.resolve();
    const next = before.then(
      () => this.#start(folder),
      () => this.#start(folder),
    );
    this.#waiting.set(folder, next);
    return next;
  }

  #start(folder: string): Promise<void> {
    this.#waiting.delete(folder);
    const run = syncFolder(folder, this.#calls).finally(() => {
      if (this.#running.get(folder) === run) this.#running.delete(folder);
    });
    this.#running.set(folder, run);
    return run;
  }

  async #make(folder: string): Promise<void> {
    const parent = dirname(folder);
    await this.ensure(parent);
    try {
      await this.#calls.mkdir(folder, { mode: FOLDER_MODE });
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    }
    await this.sync(parent);
  }
}

/** Some network file systems sync folders by themselves, and refuse to be told in many ways. */
const NO_SYNC: readonly string[] = ['EINVAL', 'ENOTSUP', 'ENOSYS', 'EBADF'];

/** Makes the entries of a folder durable. */
export async function syncFolder(folder: string, calls: FileCalls): Promise<void> {
  const handle = await calls.open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    if (!NO_SYNC.includes(systemErrorCode(error) ?? '')) throw error;
  } finally {
    await handle.close();
  }
}

/** Creates a folder and what is missing above it, durably; no error where it exists. */
export async function makeRoot(root: string, calls: FileCalls): Promise<void> {
  try {
    await calls.mkdir(root, { mode: FOLDER_MODE });
  } catch (error) {
    // Not `recursive: true`, which hides why it failed: a read-only volume would be missing.
    if (systemErrorCode(error) === 'EEXIST') return;
    if (systemErrorCode(error) !== 'ENOENT' || dirname(root) === root) throw error;
    await makeRoot(dirname(root), calls);
    await calls.mkdir(root, { mode: FOLDER_MODE });
  }
  await syncFolder(dirname(root), calls);
}
