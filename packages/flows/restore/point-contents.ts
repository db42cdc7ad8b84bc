/**
 * Contents of the files of a recovery point. Small files are fetched hundreds at a time, large ones
 * in windows.
 */
import type { ContentPiece, FileEntry } from '@coffer/base';
import {
  type ChunkReader,
  type ChunkRequest,
  type ChunkWork,
  isZeroId,
  type Slab,
  SLAB_SIZE_BYTES,
  SlabPool,
} from '@coffer/repository';
import { FileWriter } from './file-writer.ts';
import type { FileContents } from './files-source.ts';
import type { OpenFolder } from './open-folder.ts';
import { type RestoreRun, TASKS_AT_ONCE } from './restore-run.ts';
import type { FileJob } from './target-file.ts';

/** Files up to this size are fetched together with others. */
const BATCHED_SIZE_BYTES_MAX = 1024 * 1024;
const FILES_PER_BATCH = 512;
/** A batch holds the folders of its files open. */
const FOLDERS_PER_BATCH = 64;

interface Batch {
  readonly slab: Slab;
  readonly jobs: {
    readonly job: FileJob<FileEntry>;
    readonly pieces: readonly ContentPiece[];
    offset: number;
  }[];
  readonly folders: Set<OpenFolder>;
  readonly stored: PromiseWithResolvers<void>;
  used: number;
}

export interface PointContentsOptions {
  readonly reader: ChunkReader;
  readonly work: ChunkWork;
  readonly run: RestoreRun;
}

export class PointContents implements FileContents<FileEntry> {
  readonly #options: PointContentsOptions;
  readonly #slabs = new SlabPool(TASKS_AT_ONCE + 1);
  readonly #writer: FileWriter;
  #batch: Batch | undefined;

  constructor(options: PointContentsOptions) {
    this.#options = options;
    this.#writer = new FileWriter({ ...options, slabs: this.#slabs });
  }

  async write(job: FileJob<FileEntry>): Promise<{ stored: Promise<void> }> {
    const { content, sizeBytes } = job.entry;
    const isBatched =
      content?.form === 'pieces' &&
      sizeBytes <= BATCHED_SIZE_BYTES_MAX &&
      job.existing !== 'update';
    if (isBatched) return await this.#addToBatch(job, content.pieces);
    return await this.writeAlone(job);
  }

  async writeAlone(job: FileJob<FileEntry>): Promise<{ stored: Promise<void> }> {
    return await this.#options.run.start(job.relative, () => this.#writer.writeLarge(job));
  }

  async #addToBatch(
    job: FileJob<FileEntry>,
    pieces: readonly ContentPiece[],
  ): Promise<{ stored: Promise<void> }> {
    const isFull = (batch: Batch): boolean =>
      batch.used + job.entry.sizeBytes > SLAB_SIZE_BYTES ||
      batch.jobs.length >= FILES_PER_BATCH ||
      batch.folders.size >= FOLDERS_PER_BATCH;
    if (this.#batch && isFull(this.#batch)) await this.flush();
    if (!this.#batch) {
      const slab = await this.#slabs.acquire();
      const stored = Promise.withResolvers<void>();
      this.#batch = { slab, jobs: [], folders: new Set(), stored, used: 0 };
    }
    const batch = this.#batch;
    batch.jobs.push({ job, pieces, offset: batch.used });
    batch.folders.add(job.folder);
    batch.used += lengthOf(pieces);
    return { stored: batch.stored.promise };
  }

  async flush(): Promise<void> {
    const batch = this.#batch;
    if (!batch) return;
    this.#batch = undefined;
    await this.#options.run.tasks.add(async () => {
      try {
        await this.#writeBatch(batch);
      } finally {
        this.#slabs.release(batch.slab);
        batch.stored.resolve();
      }
    });
  }

  async #writeBatch({ slab, jobs }: Batch): Promise<void> {
    const { reader, work, run } = this.#options;
    run.context.signal.throwIfAborted();
    const owners = new Map<ChunkRequest, FileJob>();
    for (const { job, pieces, offset } of jobs) {
      for (const request of requestsAt(pieces, offset)) owners.set(request, job);
    }
    const failures = await reader.readInto(slab, [...owners.keys()], work);
    const failed = new Map(failures.map(({ request, error }) => [owners.get(request), error]));
    for (const { job, pieces, offset } of jobs) {
      const failure = failed.get(job);
      if (failure) run.findings.failed(job.relative, failure);
      else {
        await run.findings.attempt(job.relative, () =>
          this.#writer.writeSmall(job, slab.bytes.subarray(offset), pieces),
        );
      }
    }
  }
}

function* requestsAt(pieces: readonly ContentPiece[], start: number): Generator<ChunkRequest> {
  let targetOffset = start;
  for (const { id, length } of pieces) {
    if (!isZeroId(id)) yield { id, length, targetOffset };
    targetOffset += length;
  }
}

function lengthOf(pieces: readonly ContentPiece[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}
