/** Contents of the files on a volume: read in order, and written where they are not zero. */
import { readSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { CofferError, type FileMetadata, tellDone } from '@coffer/base';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import { setMetadataOfFile } from '@coffer/workloads/files/target-metadata.ts';
import { readFile } from '../../browse/read-file.ts';
import { blockRuns } from './block-runs.ts';
import type { FileContents } from './files-source.ts';
import type { RestoreRun } from './restore-run.ts';
import {
  endFileAt,
  type FileJob,
  withExistingFile,
  withNewFile,
  writeAll,
  writeHole,
} from './target-file.ts';

/** After so many pieces others get their turn: a hole is read without waiting for anything. */
const PIECES_PER_TURN = 16;

export class VolumeContents implements FileContents {
  readonly #fileSystem: FileSystem;
  readonly #run: RestoreRun;

  constructor(fileSystem: FileSystem, run: RestoreRun) {
    this.#fileSystem = fileSystem;
    this.#run = run;
  }

  isBatched(): boolean {
    return false;
  }

  async write(job: FileJob): Promise<{ stored: Promise<void> }> {
    return await this.writeAlone(job);
  }

  async writeAlone(job: FileJob): Promise<{ stored: Promise<void> }> {
    return await this.#run.start(job.relative, () =>
      job.existing === 'update' ? this.#update(job) : this.#create(job),
    );
  }

  async flush(): Promise<void> {}

  async #create(job: FileJob): Promise<void> {
    await withNewFile(job, async (fd) => {
      // A size that the target cannot hold is refused before anything is read.
      endFileAt(fd, job.entry.sizeBytes);
      await this.#writePieces(fd, job, () => undefined);
      this.#finish(fd, job);
    });
  }

  /** Writes in place what differs, and nothing else. */
  async #update(job: FileJob): Promise<void> {
    await withExistingFile(job, async (fd) => {
      let current: Buffer | undefined;
      await this.#writePieces(fd, job, (offset, length) => {
        // Only the last piece is shorter than the first.
        current ??= Buffer.allocUnsafe(length);
        return current.subarray(0, readSync(fd, current, 0, length, offset));
      });
      endFileAt(fd, job.entry.sizeBytes);
      this.#finish(fd, job);
    });
  }

  #finish(fd: number, { entry, relative }: FileJob): void {
    setMetadataOfFile(fd, entry, this.#run.findings.refused(relative));
    tellDone(this.#run.context, { items: 1 });
  }

  async #writePieces(
    fd: number,
    { entry, existing }: FileJob,
    currentAt: (offset: number, length: number) => Buffer | undefined,
  ): Promise<void> {
    const { result, context } = this.#run;
    for await (const { bytes, offset } of filePieces(this.#fileSystem, entry)) {
      context.signal.throwIfAborted();
      for (const { start, end, kind } of blockRuns(bytes, currentAt(offset, bytes.length))) {
        if (kind === 'data') {
          writeAll(fd, bytes.subarray(start, end), offset + start);
          result.bytesWritten += end - start;
        } else if (kind === 'kept') result.bytesKept += end - start;
        else if (existing === 'update') writeHole(fd, offset + start, end - start);
      }
      tellDone(context, { bytes: bytes.length });
    }
  }
}

/** In what an open file differs from one on a volume. */
export async function differenceFromVolume(
  fileSystem: FileSystem,
  file: FileMetadata,
  fd: number,
): Promise<string | undefined> {
  let current: Buffer | undefined;
  for await (const { bytes, offset } of filePieces(fileSystem, file)) {
    current ??= Buffer.allocUnsafe(bytes.length);
    const length = readSync(fd, current, 0, bytes.length, offset);
    if (!bytes.equals(current.subarray(0, length))) return `it differs at or after byte ${offset}`;
  }
  const isLonger = readSync(fd, Buffer.alloc(1), 0, 1, file.sizeBytes) > 0;
  return isLonger ? 'it is longer than on the volume' : undefined;
}

/**
 * The whole content of a file, in order; bytes are valid until the next are asked for. Fails with
 * `file-system-damaged` when there is less of it than there should be.
 */
async function* filePieces(
  fileSystem: FileSystem,
  file: FileMetadata,
): AsyncGenerator<{ bytes: Buffer; offset: number }> {
  let offset = 0;
  let pieceCount = 0;
  for await (const bytes of readFile(fileSystem, file)) {
    yield { bytes, offset };
    offset += bytes.length;
    if (++pieceCount % PIECES_PER_TURN === 0) await setImmediate();
  }
  if (offset === file.sizeBytes) return;
  const details = { structure: 'file', reason: 'it has another length', sizeBytes: file.sizeBytes };
  throw new CofferError('file-system-damaged', { ...details, endsAt: offset });
}
