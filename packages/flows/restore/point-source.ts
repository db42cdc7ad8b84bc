/** A recovery point of files as what is restored. */
import { readSync } from 'node:fs';
import type { FileEntry } from '@coffer/base';
import {
  type ChunkReader,
  contentPieces,
  openManifest,
  readFolder,
  type RecoveryPoint,
  type UnlockedRepository,
  SLAB_SIZE_BYTES,
} from '@coffer/repository';
import type { FolderMetadata } from '@coffer/workloads/files/target-metadata.ts';
import { parseManifest, rootMetadata } from '../backup/manifest.ts';
import { findNode } from '../browse/list.ts';
import { PointFiles } from '../browse/point-files.ts';
import type { FileContents, FilesSource, FolderWalk } from './files-source.ts';
import { PointContents } from './point-contents.ts';
import type { RestoreRun } from './restore-run.ts';

/** Fails with `kind-mismatch` or `path-not-found`. */
export async function openPointSource(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  path: string,
  signal?: AbortSignal,
): Promise<FilesSource<FileEntry>> {
  const files = new PointFiles(repository, point, signal);
  const { node } = await findNode(files, path);
  const { rootFolder } = parseManifest(openManifest(point, repository.keys));
  // The root's metadata is not in a folder; early points have none.
  const metadata = node === files.root ? rootMetadata(rootFolder) : metadataOfFolder(node);
  return new PointSource(repository, { node, metadata }, repository.reader(signal));
}

function metadataOfFolder(node: FileEntry): FolderMetadata | undefined {
  return node.type === 'directory' ? node : undefined;
}

class PointSource implements FilesSource<FileEntry> {
  readonly wanted: FileEntry;
  readonly rootMetadata: FolderMetadata | undefined;
  readonly #repository: UnlockedRepository;
  readonly #reader: ChunkReader;

  constructor(
    repository: UnlockedRepository,
    { node, metadata }: { node: FileEntry; metadata: FolderMetadata | undefined },
    reader: ChunkReader,
  ) {
    this.wanted = node;
    this.rootMetadata = metadata;
    this.#repository = repository;
    this.#reader = reader;
  }

  /** Folders refer to each other by their digests, so none can be in itself. */
  walk(): FolderWalk<FileEntry> {
    return {
      entries: ({ folder }) => (folder ? readFolder(this.#reader, folder) : NOTHING),
    };
  }

  contents(run: RestoreRun): FileContents<FileEntry> {
    return new PointContents({ reader: this.#reader, work: this.#repository.work, run });
  }

  /** Content is compared by the digests of its chunks, and not fetched. */
  async difference(file: FileEntry, fd: number): Promise<string | undefined> {
    if (!file.content) return 'the point has no content for it';
    const buffer = Buffer.alloc(SLAB_SIZE_BYTES);
    let offset = 0;
    for await (const { id, length } of contentPieces(this.#reader, file.content)) {
      // Runs of zeroes are of any length; every part of one is zero too.
      for (let done = 0; done < length; done += buffer.length) {
        const wanted = Math.min(buffer.length, length - done);
        const bytesRead = readSync(fd, buffer, 0, wanted, offset + done);
        const isEqual =
          bytesRead === wanted && this.#reader.matches(id, buffer.subarray(0, wanted));
        if (!isEqual) return `it differs at or after byte ${offset + done}`;
      }
      offset += length;
    }
    return readSync(fd, buffer, 0, 1, offset) > 0 ? 'it is longer than in the point' : undefined;
  }

  async close(): Promise<void> {}
}

const NOTHING: AsyncIterable<FileEntry> = {
  async *[Symbol.asyncIterator]() {},
};
