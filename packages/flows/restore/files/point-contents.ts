/**
 * Contents of the files of a recovery point. Small files are fetched hundreds at a time, large ones
 * in windows.
 */
import { assert, type ContentPiece, type FileEntry, isSystemError } from '@coffer/base';
import {
  type ChunkReader,
  type ChunkRequest,
  type ChunkWork,
  isZeroId,
  type Slab,
  SLAB_SIZE_BYTES,
  SlabPool,
} from '@coffer/repository';
import { BatchFolders } from '@coffer/workloads/files/batch-folders.ts';
import type { NewFileRequest } from '@coffer/workloads/files/new-files.ts';
import type { TargetFolder } from '@coffer/workloads/files/target-folder.ts';
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

interface BatchedFile {
  readonly job: FileJob<FileEntry>;
  readonly pieces: readonly ContentPiece[];
  /** Of its bytes in the slab. */
  readonly offset: number;
}

interface Batch {
  readonly slab: Slab;
  readonly jobs: BatchedFile[];
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

  isBatched({ content, sizeBytes }: FileEntry): boolean {
    return content?.form === 'pieces' && sizeBytes <= BATCHED_SIZE_BYTES_MAX;
  }

  async write(job: FileJob<FileEntry>): Promise<{ stored: Promise<void> }> {
    const isBatched = this.isBatched(job.entry) && job.existing !== 'update';
    return await (isBatched ? this.#addToBatch(job) : this.writeAlone(job));
  }

  async writeAlone(job: FileJob<FileEntry>): Promise<{ stored: Promise<void> }> {
    return await this.#options.run.start(job.relative, () => this.#writer.writeLarge(job));
  }

  async #addToBatch(job: FileJob<FileEntry>): Promise<{ stored: Promise<void> }> {
    const { content } = job.entry;
    assert(content?.form === 'pieces', 'a small file has no tree');
    const { pieces } = content;
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

  async #writeBatch(batch: Batch): Promise<void> {
    const { reader, work, run } = this.#options;
    run.context.signal.throwIfAborted();
    const owners = new Map<ChunkRequest, BatchedFile>();
    for (const file of batch.jobs) {
      for (const request of requestsAt(file.pieces, file.offset)) owners.set(request, file);
    }
    const failures = await reader.readInto(batch.slab, [...owners.keys()], work);
    const failed = new Map(failures.map(({ request, error }) => [owners.get(request), error]));
    for (const [file, error] of failed) if (file) run.findings.failed(file.job.relative, error);
    const whole = batch.jobs.filter((file) => !failed.has(file));
    const usual = whole.filter(isUsual);
    const unmade = new Set(await this.#makeUsual(batch.slab, usual));
    const rest = whole.filter((file) => unmade.has(file) || !isUsual(file));
    for (const { job, offset, pieces } of rest) {
      await run.findings.attempt(job.relative, () => {
        const found = job.existing === 'unseen' ? job.look() : job;
        if (!found) return;
        const bytes = batch.slab.bytes.subarray(offset);
        this.#writer.writeSmall({ ...job, ...found }, bytes, pieces);
      });
    }
  }

  /** Returns those that could not be made as files usually can. */
  async #makeUsual(slab: Slab, files: readonly BatchedFile[]): Promise<BatchedFile[]> {
    using folders = new BatchFolders<TargetFolder>();
    const placed: BatchedFile[] = [];
    const requests: NewFileRequest[] = [];
    for (const file of files) {
      const folder = indexIn(folders, file.job.folder);
      if (folder === undefined) continue;
      placed.push(file);
      requests.push(newFileOf(file, folder));
    }
    const opened = folders.opened.map(({ fd, folder }) => ({ fd, inherits: !folder.isNew }));
    const outcomes = await this.#options.run.threads.make(slab.bytes, {
      folders: opened,
      files: requests,
    });
    placed.forEach(({ job }, index) => {
      const refused = outcomes[index];
      if (refused) this.#writer.made(job, refused);
    });
    const made = new Set(placed.filter((_file, index) => outcomes[index]));
    return files.filter((file) => !made.has(file));
  }
}

/** Undefined for one that cannot be opened. */
function indexIn(folders: BatchFolders<TargetFolder>, { target }: OpenFolder): number | undefined {
  try {
    return folders.indexOf(target);
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}

/** New, without holes, and without attributes: as nearly all are. */
function isUsual({ job, pieces }: BatchedFile): boolean {
  return (
    (job.existing === 'none' || job.existing === 'unseen') &&
    job.entry.extendedAttributes.length === 0 &&
    pieces.every(({ id }) => !isZeroId(id))
  );
}

function newFileOf({ job, pieces, offset }: BatchedFile, folder: number): NewFileRequest {
  const { mode, userId, groupId, modifiedNs } = job.entry;
  let fileOffset = 0;
  const placed = pieces.map(({ length }) => {
    const piece = { slabOffset: offset + fileOffset, fileOffset, length };
    fileOffset += length;
    return piece;
  });
  const name = job.name.toString('latin1');
  return { folder, name, mode, userId, groupId, modifiedNs, pieces: placed };
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
