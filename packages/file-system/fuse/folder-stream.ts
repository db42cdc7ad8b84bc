/**
 * One open folder. The kernel asks for what follows a place; places count names, so that a listing
 * that goes on where it stopped costs nothing, and one that goes back begins anew.
 */
import { type FileMetadata, isFileName } from '@coffer/base';
import type { FileSystem } from '../file-system.ts';

export class FolderStream<Node extends FileMetadata> {
  readonly #fileSystem: FileSystem<Node>;
  readonly #folder: Node;
  #entries: AsyncIterator<Node> | undefined;
  /** Read from the file system, and not taken. */
  #waiting: Node | undefined;
  #place = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(fileSystem: FileSystem<Node>, folder: Node) {
    this.#fileSystem = fileSystem;
    this.#folder = folder;
  }

  /**
   * Gives the names from `place` on to `take`, with the place behind each, until it takes no more or
   * there are none. Calls run one after the other.
   */
  async from(place: number, take: (node: Node, nextPlace: number) => boolean): Promise<void> {
    const run = this.#last.then(async () => await this.#from(place, take));
    this.#last = run.catch(() => {});
    await run;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#rewind();
  }

  async #from(place: number, take: (node: Node, nextPlace: number) => boolean): Promise<void> {
    if (place < this.#place) await this.#rewind();
    for (;;) {
      const node = await this.#peek();
      if (!node) return;
      if (this.#place >= place && !take(node, this.#place + 1)) return;
      this.#waiting = undefined;
      this.#place++;
    }
  }

  /** What the kernel takes for no name would make it refuse the whole folder. */
  async #peek(): Promise<Node | undefined> {
    this.#entries ??= this.#fileSystem.entries(this.#folder)[Symbol.asyncIterator]();
    while (!this.#waiting) {
      const next = await this.#next(this.#entries);
      if (next.done === true) return undefined;
      if (isShown(next.value.name)) this.#waiting = next.value;
    }
    return this.#waiting;
  }

  /** After a failure the listing has to begin anew: an iterator that failed says that it is done. */
  async #next(entries: AsyncIterator<Node>): Promise<IteratorResult<Node>> {
    try {
      return await entries.next();
    } catch (error) {
      await this.#rewind();
      throw error;
    }
  }

  async #rewind(): Promise<void> {
    const entries = this.#entries;
    this.#entries = undefined;
    this.#waiting = undefined;
    this.#place = 0;
    await entries?.return?.();
  }
}

/** FUSE_NAME_MAX: longer names can be restored, and not be shown. */
const NAME_SIZE_MAX = 1024;

function isShown(name: Buffer): boolean {
  return name.length <= NAME_SIZE_MAX && isFileName(name);
}
