/** Finding names in many points. A folder that was searched in one point is not read in another. */
import type { FileEntry } from '@coffer/base';
import { textOfBytes } from '@coffer/base/path-text.ts';
import { type ChunkId, type ChunkReader, idKey, readFolder } from '@coffer/repository';
import type { PathPattern } from './glob.ts';

/** Found names and searched folders that are kept; beyond that, all are forgotten. */
const KEPT_MAX = 100_000;
/** What is found in a folder is kept when it is not more than this. */
const KEPT_OF_FOLDER_MAX = 1000;

export interface FoundPath {
  readonly path: string;
  readonly entry: FileEntry;
}

export class PathSearch {
  readonly #reader: ChunkReader;
  readonly #pattern: PathPattern;
  /** What was found below a folder, by its path and node: equal nodes hold equal names. */
  readonly #searched = new Map<string, readonly FoundPath[]>();
  #kept = 0;

  constructor(reader: ChunkReader, pattern: PathPattern) {
    this.#reader = reader;
    this.#pattern = pattern;
  }

  /** All matches below the root folder of a point. */
  async *below(folder: ChunkId, under = ''): AsyncGenerator<FoundPath> {
    const key = `${idKey(folder)}${under}`;
    const known = this.#searched.get(key);
    if (known) {
      yield* known;
      return;
    }
    const found: FoundPath[] = [];
    for await (const match of this.#search(folder, under)) {
      yield match;
      if (found.length <= KEPT_OF_FOLDER_MAX) found.push(match);
    }
    if (found.length <= KEPT_OF_FOLDER_MAX) this.#keep(key, found);
  }

  async *#search(folder: ChunkId, under: string): AsyncGenerator<FoundPath> {
    for await (const entry of readFolder(this.#reader, folder)) {
      const path = `${under}${textOfBytes(entry.name)}`;
      if (this.#pattern(path, entry.type === 'directory')) yield { path, entry };
      if (entry.folder) yield* this.below(entry.folder, `${path}/`);
    }
  }

  #keep(key: string, found: readonly FoundPath[]): void {
    this.#kept += found.length + 1;
    if (this.#kept > KEPT_MAX) {
      this.#searched.clear();
      this.#kept = found.length + 1;
    }
    this.#searched.set(key, found);
  }
}
