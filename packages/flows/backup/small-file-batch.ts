/** Small files of a backup that share a slab, so that hundreds of them are one piece of work. */
import { required } from '@coffer/base';
import { type Slab, SLAB_SIZE_BYTES, type Span } from '@coffer/repository';
import { BatchFolders } from '@coffer/workloads/files/batch-folders.ts';
import type { FileThreads } from '@coffer/workloads/files/file-threads.ts';
import type { SmallFileRequest } from '@coffer/workloads/files/small-files.ts';
import type { SourceFolder } from '@coffer/workloads/files/source-folder.ts';
import type { FileToStore } from './file-content.ts';

const FILES_MAX = 1024;
/** A batch holds the folders of its files open. */
const FOLDERS_MAX = 64;

/** One that has to be looked at by itself: it is gone, it is another one, or it may not be read. */
export interface UnreadFile {
  readonly file: FileToStore;
  /** A descriptor, open as long as the batch is. */
  readonly folder: number;
}

export class SmallFileBatch implements Disposable {
  readonly slab: Slab;
  readonly stored = Promise.withResolvers<void>();
  /** Those that were read, and have content. */
  readonly whole: { readonly file: FileToStore; readonly span: Span }[] = [];
  readonly #folders = new BatchFolders<SourceFolder>();
  readonly #files: FileToStore[] = [];
  readonly #requests: SmallFileRequest[] = [];
  #used = 0;

  constructor(slab: Slab) {
    this.slab = slab;
    // A failure is thrown where the root is awaited; until then it must not count as unhandled.
    this.stored.promise.catch(() => {});
  }

  hasRoomFor({ sizeBytes }: FileToStore): boolean {
    const { length } = this.#files;
    const isFull = length >= FILES_MAX || this.#folders.opened.length >= FOLDERS_MAX;
    return !isFull && this.#used + sizeBytes <= SLAB_SIZE_BYTES;
  }

  /** Fails as system calls do when the folder cannot be used. */
  add(file: FileToStore): void {
    const folder = this.#folders.indexOf(file.folder);
    const { sizeBytes, inode, device, modifiedNs, changedNs } = file;
    const seen = { sizeBytes, inode, device, modifiedNs, changedNs };
    const name = file.name.toString('latin1');
    this.#requests.push({ ...seen, folder, name, slabOffset: this.#used });
    this.#files.push(file);
    this.#used += sizeBytes;
  }

  /** Reads all of them; those that are empty by now are stored. */
  async read(
    threads: FileThreads,
  ): Promise<{ readonly unread: readonly UnreadFile[]; readonly bytesRead: number }> {
    const folders = this.#folders.opened.map(({ fd }) => fd);
    const unread: UnreadFile[] = [];
    const outcomes = await threads.read(this.slab.bytes, { folders, files: this.#requests });
    let bytesRead = 0;
    this.#files.forEach((file, index) => {
      const { folder, slabOffset } = required(this.#requests[index], 'each file was asked for');
      const outcome = outcomes[index];
      if (!outcome) {
        unread.push({ file, folder: required(folders[folder], 'its folder is open') });
        return;
      }
      const { length, isChanged } = outcome;
      bytesRead += length;
      if (isChanged) file.onFinding('changed');
      if (length > 0) this.whole.push({ file, span: { offset: slabOffset, length } });
      else file.onStored({ form: 'pieces', pieces: [] }, 0);
    });
    return { unread, bytesRead };
  }

  /** Closes the folders. */
  [Symbol.dispose](): void {
    this.#folders[Symbol.dispose]();
  }
}
