/** A recovery point of files as what is restored. */
import { fstatSync, readSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { FileEntry } from '@coffer/base';
import { nextData } from '@coffer/base/libc.ts';
import {
  type ChunkId,
  type ChunkReader,
  contentPieces,
  isZeroId,
  readFolder,
  type RecoveryPoint,
  type UnlockedRepository,
  SLAB_SIZE_BYTES,
} from '@coffer/repository';
import type { FolderMetadata } from '@coffer/workloads/files/target-metadata.ts';
import { parseManifest, rootMetadata } from '../../manifest.ts';
import { findNode } from '../../browse/list.ts';
import { PointFiles } from '../../browse/point-files.ts';
import type { FileContents, FilesSource, FolderWalk } from './files-source.ts';
import { PointContents } from './point-contents.ts';
import type { RestoreRun } from './restore-run.ts';

/** Fails with `kind-mismatch` or `path-not-found`. */
export async function openPointSource(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  path: string,
): Promise<FilesSource<FileEntry>> {
  const files = new PointFiles(repository, point);
  const { node } = await findNode(files, path);
  const { rootFolder } = parseManifest(repository.openManifest(point));
  // The root's metadata is not in a folder; early points have none.
  const metadata = node === files.root ? rootMetadata(rootFolder) : metadataOfFolder(node);
  return new PointSource(repository, { node, metadata });
}

function metadataOfFolder(node: FileEntry): FolderMetadata | undefined {
  return node.type === 'directory' ? node : undefined;
}

class PointSource implements FilesSource<FileEntry> {
  readonly wanted: FileEntry;
  /** The system that it was made of is the one that it is restored to, or stands in for it. */
  readonly isForeign = false;
  readonly rootMetadata: FolderMetadata | undefined;
  readonly #repository: UnlockedRepository;
  readonly #reader: ChunkReader;

  constructor(
    repository: UnlockedRepository,
    { node, metadata }: { node: FileEntry; metadata: FolderMetadata | undefined },
  ) {
    this.wanted = node;
    this.rootMetadata = metadata;
    this.#repository = repository;
    this.#reader = repository.reader();
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
    const buffer = Buffer.alloc(Math.min(SLAB_SIZE_BYTES, Math.max(file.sizeBytes, 1)));
    let offset = 0;
    for await (const { id, length } of contentPieces(this.#reader, file.content)) {
      const piece = { id, offset, end: offset + length };
      const differsAt = await this.#differsAt(fd, piece, buffer);
      if (differsAt !== undefined) return `it differs at or after byte ${differsAt}`;
      offset += length;
    }
    return readSync(fd, buffer, 0, 1, offset) > 0 ? 'it is longer than in the point' : undefined;
  }

  /** Runs of zeroes are of any length; what is a hole in the file, too, is not read. */
  async #differsAt(
    fd: number,
    { id, offset, end }: { readonly id: ChunkId; readonly offset: number; readonly end: number },
    buffer: Buffer,
  ): Promise<number | undefined> {
    const sizeBytes = fstatSync(fd).size;
    if (end > sizeBytes) return Math.max(offset, sizeBytes);
    for (let place = offset; place < end;) {
      // Long runs are the only ones that take a while.
      if (place > offset) await setImmediate();
      this.#repository.run.signal.throwIfAborted();
      const run = isZeroId(id) ? nextData(fd, place, end) : { offset: place, length: end - place };
      if (!run) return undefined;
      const wanted = Math.min(buffer.length, run.length);
      const bytesRead = readSync(fd, buffer, 0, wanted, run.offset);
      const isEqual = bytesRead === wanted && this.#reader.matches(id, buffer.subarray(0, wanted));
      if (!isEqual) return run.offset;
      place = run.offset + wanted;
    }
    return undefined;
  }

  async close(): Promise<void> {}
}

const NOTHING: AsyncIterable<FileEntry> = {
  async *[Symbol.asyncIterator]() {},
};
