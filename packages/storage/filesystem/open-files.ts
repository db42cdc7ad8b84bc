/**
 * Files that stay open for a while, since many ranges of one pack are read one after the other.
 *
 * Invariant: a file is closed only when no task uses it; beyond `limit`, the one that was not used
 * for the longest time goes first.
 */
import { type FileHandle, open } from 'node:fs/promises';

interface OpenFile {
  readonly handle: Promise<FileHandle>;
  users: number;
  /** Nobody finds it any more: the last user closes it. */
  forgotten: boolean;
}

export class OpenFiles {
  readonly #limit: number;
  /** In order of last use: a Map keeps the order of insertion. */
  readonly #files = new Map<string, OpenFile>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Runs `task` on the open file. */
  async use<T>(path: string, task: (handle: FileHandle) => Promise<T>): Promise<T> {
    const file = this.#files.get(path) ?? { handle: open(path), users: 0, forgotten: false };
    this.#files.delete(path);
    this.#files.set(path, file);
    file.users++;
    try {
      return await task(await file.handle);
    } catch (error) {
      // What failed is opened anew the next time: the file may be another, or the mount be back.
      this.#forget(path, file);
      throw error;
    } finally {
      file.users--;
      await this.#closeUnused(path, file);
    }
  }

  /** Does not give this file to later users. */
  async drop(path: string): Promise<void> {
    const file = this.#files.get(path);
    if (!file) return;
    this.#forget(path, file);
    await this.#closeUnused(path, file);
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#files.keys()].map((path) => this.drop(path)));
  }

  #forget(path: string, file: OpenFile): void {
    file.forgotten = true;
    if (this.#files.get(path) === file) this.#files.delete(path);
  }

  async #closeUnused(path: string, file: OpenFile): Promise<void> {
    if (file.forgotten && file.users === 0) await close(file);
    if (this.#files.size <= this.#limit) return;
    for (const [oldestPath, oldest] of this.#files) {
      if (oldest.users > 0) continue;
      this.#forget(oldestPath, oldest);
      await close(oldest);
      return;
    }
  }
}

/** Closes what was opened; what could not be opened was reported to its users. */
async function close(file: OpenFile): Promise<void> {
  const handle = await file.handle.catch(() => undefined);
  await handle?.close();
}
