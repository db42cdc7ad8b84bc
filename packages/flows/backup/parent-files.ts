/** The files of the parent point: which of them are as they were, and need not be read. */
import type { FileEntry } from '@coffer/base';
import type { FileStats, NameIn } from '@coffer/base/folder-calls.ts';
import {
  type ChunkId,
  isChunkError,
  isContentStored,
  type NodeReader,
  readFolderWhole,
} from '@coffer/repository';
import { clockDoubtNs, isUnchanged } from '@coffer/workloads/files/metadata.ts';

export interface ParentFilesOptions {
  /** Of nodes of the parent point; undefined where there is none. */
  readonly reader: NodeReader | undefined;
  /** When the parent point was taken, in ms since 1970. */
  readonly parentTakenAt: number;
  /** True when the chunk is stored, so that content of the parent point can be used again. */
  readonly isStored: (id: ChunkId) => boolean;
}

export class ParentFiles {
  readonly #options: ParentFilesOptions;
  readonly #takenAtNs: bigint;
  /** By device. */
  readonly #clockDoubts = new Map<bigint, bigint>();

  constructor(options: ParentFilesOptions) {
    this.#options = options;
    this.#takenAtNs = BigInt(Math.round(options.parentTakenAt)) * 1_000_000n;
  }

  /** What is in a folder, by names as latin1. Fails where it is damaged. */
  async entries(folder: ChunkId | undefined): Promise<ReadonlyMap<string, FileEntry>> {
    const { reader } = this.#options;
    if (!folder || !reader) return new Map();
    const entries = await readFolderWhole(reader, folder);
    return new Map(entries.map((entry) => [entry.name.toString('latin1'), entry]));
  }

  isUnchanged(before: FileEntry, file: NameIn, stats: FileStats): boolean {
    return isUnchanged(before, stats, this.#takenAtOn(file, stats));
  }

  /** By the clock that stamps the files there. */
  #takenAtOn(file: NameIn, { device }: FileStats): bigint {
    const doubtNs = this.#clockDoubts.get(device) ?? clockDoubtNs(file);
    this.#clockDoubts.set(device, doubtNs);
    return this.#takenAtNs - doubtNs;
  }

  /** True when its content is stored still. */
  async isStored({ content }: FileEntry): Promise<boolean> {
    const { isStored, reader } = this.#options;
    try {
      if (content === undefined || reader === undefined) return false;
      return await isContentStored(reader, content, isStored);
    } catch (error) {
      // What is damaged is read and stored again.
      if (isChunkError(error)) return false;
      throw error;
    }
  }
}
