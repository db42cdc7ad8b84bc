/**
 * Folders of a walk, listed by threads: the one that the walk is in, and those that come next. What is
 * older than a moment is looked at again, so that being ahead never makes a point older.
 *
 * Invariant: a folder stays open while a thread reads it.
 */
import { type Clock, isSystemError } from '@coffer/base';
import { type FileStats, namesIn, statAt } from '@coffer/base/folder-calls.ts';
import type { FileThreads } from '@coffer/workloads/files/file-threads.ts';
import {
  type FolderListing,
  isFolderIn,
  namesOf,
  statsIn,
} from '@coffer/workloads/files/folder-listing.ts';
import type { SourceFolder } from '@coffer/workloads/files/source-folder.ts';

/** A look of this age is as good as a new one. */
const FRESH_MS = 1000;
/** Folders that are listed ahead at once, of each that is walked, and in all. */
const AHEAD_MAX = 3;
const AHEAD_IN_ALL_MAX = 24;

export interface ListingOptions {
  readonly threads: FileThreads;
  readonly clock: Clock;
}

/** How many are listed ahead by now. */
interface Ahead {
  count: number;
}

export class ListedFolder {
  readonly folder: SourceFolder;
  readonly #options: ListingOptions;
  readonly #listing: Promise<FolderListing | undefined>;
  readonly #startedAt: number;
  readonly #inAll: Ahead;
  /** Those in it that are listed ahead, by their places. */
  readonly #ahead = new Map<number, ListedFolder>();
  #listed: FolderListing | undefined;
  #names: readonly Buffer[] = [];
  /** Places up to this one were looked through for folders. */
  #lookedThrough = 0;

  private constructor(folder: SourceFolder, options: ListingOptions, inAll: Ahead) {
    this.folder = folder;
    this.#options = options;
    this.#inAll = inAll;
    this.#startedAt = options.clock.now();
    this.#listing = options.threads.list(folder.fd);
    // It is thrown to who asks for the names; until then it must not count as unhandled.
    this.#listing.catch(() => {});
  }

  /** The folder that the walk begins in. */
  static root(folder: SourceFolder, options: ListingOptions): ListedFolder {
    return new ListedFolder(folder, options, { count: 0 });
  }

  get #isFresh(): boolean {
    const ageMs = this.#options.clock.now() - this.#startedAt;
    return ageMs >= 0 && ageMs < FRESH_MS;
  }

  /** In the order of their bytes. Fails as system calls do when they cannot be read. */
  async names(): Promise<readonly Buffer[]> {
    const listing = await this.#listing;
    if (listing && this.#isFresh) {
      this.#listed = listing;
      this.#names = namesOf(listing);
    } else this.#names = namesIn(this.folder.fd);
    return this.#names;
  }

  /** What has a name. Fails as system calls do. */
  statsOf(index: number): FileStats {
    const seen = this.#listed && this.#isFresh ? statsIn(this.#listed, index) : undefined;
    return seen ?? statAt(this.folder.fd, this.#names[index]!);
  }

  /** Begins to list the next folders behind a place, of those that `isEntered` says of. */
  lookAhead(from: number, isEntered: (name: Buffer, stats: FileStats) => boolean): void {
    if (!this.#listed || !this.#isFresh) return;
    this.#lookedThrough = Math.max(this.#lookedThrough, from);
    while (this.#ahead.size < AHEAD_MAX && this.#inAll.count < AHEAD_IN_ALL_MAX) {
      const index = this.#lookedThrough;
      const name = this.#names[index];
      if (!name) return;
      this.#lookedThrough++;
      const stats = isFolderIn(this.#listed, index) ? statsIn(this.#listed, index) : undefined;
      if (stats && isEntered(name, stats)) this.#begin(index, name, stats);
    }
  }

  #begin(index: number, name: Buffer, stats: FileStats): void {
    try {
      const folder = this.folder.enter(name, stats);
      this.#ahead.set(index, new ListedFolder(folder, this.#options, this.#inAll));
      this.#inAll.count++;
    } catch (error) {
      // Who comes to it meets the same, and tells it.
      if (!isSystemError(error)) throw error;
    }
  }

  /** Goes into a folder. Fails as system calls do, with `ESTALE` when another one has the name. */
  async enter(index: number, stats: FileStats): Promise<ListedFolder> {
    const ahead = this.#ahead.get(index);
    if (ahead) {
      this.#ahead.delete(index);
      this.#inAll.count--;
      if (ahead.#isFresh && ahead.folder.is(stats)) return ahead;
      await ahead.close();
    }
    const folder = this.folder.enter(this.#names[index]!, stats);
    return new ListedFolder(folder, this.#options, this.#inAll);
  }

  /** Closes it, with those in it that nobody went into. */
  async close(): Promise<void> {
    await this.closeAhead();
    await this.#listing.catch(() => {});
    this.folder.close();
  }

  async closeAhead(): Promise<void> {
    for (const folder of this.#ahead.values()) {
      this.#inAll.count--;
      await folder.close();
    }
    this.#ahead.clear();
  }
}
