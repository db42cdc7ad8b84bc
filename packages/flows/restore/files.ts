/**
 * Restore of a folder. Folders are made first and get their metadata last, when all in them is
 * written. Small files are fetched hundreds at a time; large ones in windows. A file of which a
 * chunk is missing or damaged is not left under its name: it is a finding that says so.
 */
import {
  type ContentPiece,
  CofferError,
  isCofferError,
  type FileEntry,
  type Finding,
  systemErrorCode,
  TaskQueue,
} from '@coffer/base';
import {
  type ChunkId,
  type ChunkReader,
  type ChunkRequest,
  type ChunkWork,
  isChunkError,
  isZeroId,
  readFolder,
  type Slab,
  SLAB_SIZE_BYTES,
  SlabPool,
} from '@coffer/repository';
import { joinPath } from '@coffer/workloads/files/metadata.ts';
import {
  type FolderMetadata,
  type OnRefused,
  TargetFolder,
} from '@coffer/workloads/files/target-folder.ts';
import type { Progress } from '../progress.ts';
import { type Conflict, prepareName } from './conflict.ts';
import { type FileJob, FileWriter, type FilesRestoreResult } from './file-writer.ts';
import { OpenFolder } from './open-folder.ts';

/** Files up to this size are fetched together with others. */
const BATCHED_SIZE_BYTES_MAX = 1024 * 1024;
const FILES_PER_BATCH = 512;
/** A batch holds the folders of its files open. */
const FOLDERS_PER_BATCH = 64;
/** Batches and large files under way at once. */
const TASKS_AT_ONCE = 8;

export interface FilesRestoreOptions {
  readonly reader: ChunkReader;
  readonly work: ChunkWork;
  readonly conflict: Conflict;
  /** True for a path (relative to the root of the point) that is wanted. */
  readonly isIncluded: (relative: Buffer, isFolder: boolean) => boolean;
  readonly progress: Progress;
  readonly onFinding: (finding: Finding) => void;
  readonly signal?: AbortSignal | undefined;
}

interface Batch {
  readonly slab: Slab;
  readonly jobs: {
    readonly job: FileJob;
    readonly pieces: readonly ContentPiece[];
    offset: number;
  }[];
  readonly folders: Set<OpenFolder>;
  readonly stored: PromiseWithResolvers<void>;
  used: number;
}

export async function restoreFiles(
  root: { readonly folder: ChunkId; readonly metadata: FolderMetadata | undefined },
  targetPath: string,
  options: FilesRestoreOptions,
): Promise<FilesRestoreResult> {
  const restore = new FilesRestore(targetPath, options);
  return await restore.run(readFolder(options.reader, root.folder), root.metadata);
}

/** Restores a single entry into a folder. */
export async function restoreEntry(
  entry: FileEntry,
  targetPath: string,
  options: FilesRestoreOptions,
): Promise<FilesRestoreResult> {
  return await new FilesRestore(targetPath, options).run([entry], undefined);
}

class FilesRestore {
  readonly #options: FilesRestoreOptions;
  readonly #targetPath: Buffer;
  readonly #slabs = new SlabPool(TASKS_AT_ONCE + 1);
  readonly #tasks = new TaskQueue(TASKS_AT_ONCE);
  /** Where the first of several names of one file was restored, and when it is there. */
  readonly #linked = new Map<string, { readonly path: Buffer; readonly stored: Promise<void> }>();
  readonly #refusedOnce = new Set<string>();
  readonly #result: FilesRestoreResult = { bytesWritten: 0, bytesKept: 0, fileCount: 0 };
  readonly #writer: FileWriter;
  #batch: Batch | undefined;

  constructor(targetPath: string, options: FilesRestoreOptions) {
    this.#options = options;
    this.#targetPath = Buffer.from(targetPath);
    this.#writer = new FileWriter({
      ...options,
      slabs: this.#slabs,
      result: this.#result,
      refused: (relative) => this.#refused(relative),
    });
  }

  async run(
    entries: Iterable<FileEntry> | AsyncIterable<FileEntry>,
    metadata: FolderMetadata | undefined,
  ): Promise<FilesRestoreResult> {
    const target = TargetFolder.open(this.#targetPath.toString());
    const root = new OpenFolder(undefined, Buffer.alloc(0), target);
    const done = await this.#folder(entries, { folder: root, relative: Buffer.alloc(0), metadata });
    await this.#flushBatch();
    await this.#tasks.drain();
    await done.finished;
    return this.#result;
  }

  async #folder(
    entries: Iterable<FileEntry> | AsyncIterable<FileEntry>,
    place: { folder: OpenFolder; relative: Buffer; metadata: FolderMetadata | undefined },
  ): Promise<{ finished: Promise<void> }> {
    const waits = new Set<Promise<void>>();
    for await (const entry of entries) {
      this.#options.signal?.throwIfAborted();
      const relative =
        place.relative.length > 0 ? joinPath(place.relative, entry.name) : entry.name;
      await this.#attempt(relative, () => this.#entry(entry, place.folder, relative, waits));
    }
    const finished = this.#finishFolder(place, waits);
    // A failure is thrown where the root is awaited; until then it must not count as unhandled.
    finished.catch(() => {});
    return { finished };
  }

  async #finishFolder(
    place: { folder: OpenFolder; relative: Buffer; metadata: FolderMetadata | undefined },
    waits: ReadonlySet<Promise<void>>,
  ): Promise<void> {
    await Promise.all(waits);
    const { folder, metadata } = place;
    if (metadata && folder.isMade) {
      await this.#attempt(place.relative, () =>
        folder.target.setMetadata(metadata, this.#refused(place.relative)),
      );
    }
    folder.close();
  }

  async #entry(
    entry: FileEntry,
    folder: OpenFolder,
    relative: Buffer,
    waits: Set<Promise<void>>,
  ): Promise<void> {
    const isFolder = entry.type === 'directory';
    const included = this.#options.isIncluded(relative, isFolder);
    if (!included && !isFolder) return;
    if (isFolder) {
      await this.#subfolder(entry, { folder, relative, included }, waits);
      return;
    }
    const prepared = prepareName(folder.target, entry, this.#options.conflict);
    if (prepared.outcome === 'keep') {
      this.#result.bytesKept += entry.sizeBytes;
      return;
    }
    if (prepared.outcome === 'refuse') {
      this.#find('conflict', relative, prepared.reason);
      return;
    }
    const { name, existing } = prepared;
    await this.#create({ entry, folder, relative, name, existing }, waits);
  }

  async #subfolder(
    entry: FileEntry,
    place: { folder: OpenFolder; relative: Buffer; included: boolean },
    waits: Set<Promise<void>>,
  ): Promise<void> {
    const { reader, conflict } = this.#options;
    let name = entry.name;
    if (place.folder.isMade || place.included) {
      const prepared = prepareName(place.folder.target, entry, conflict);
      if (prepared.outcome === 'refuse') {
        this.#find('conflict', place.relative, prepared.reason);
        return;
      }
      if (prepared.outcome === 'create') name = prepared.name;
    }
    const child = new OpenFolder(place.folder, name);
    // A folder that is wanted itself is made even when it is empty.
    if (place.included) void child.target;
    if (!entry.folder) return;
    const { finished } = await this.#folder(readFolder(reader, entry.folder), {
      folder: child,
      relative: place.relative,
      metadata: entry,
    });
    waits.add(finished);
  }

  async #create(job: FileJob, waits: Set<Promise<void>>): Promise<void> {
    const { entry, folder, name, relative } = job;
    const refused = this.#refused(relative);
    const named = { ...entry, name };
    const linkKey = entry.hardLink && `${entry.hardLink.device}:${entry.hardLink.inode}`;
    const first = linkKey === undefined ? undefined : this.#linked.get(linkKey);
    if (first) {
      waits.add(first.stored.then(() => this.#link(first.path, job)));
      return;
    }
    let stored: Promise<void> = Promise.resolve();
    if (entry.type === 'file') stored = (await this.#file(job)).stored;
    else if (job.existing === 'replace') folder.target.remove(name);
    if (entry.type === 'symlink') folder.target.createLink(named, refused);
    else if (entry.type !== 'file') folder.target.createNode(named, refused);
    waits.add(stored);
    if (linkKey !== undefined) {
      const parent = relative.subarray(0, relative.length - entry.name.length);
      const path = joinPath(this.#targetPath, Buffer.concat([parent, name]));
      this.#linked.set(linkKey, { path, stored });
    }
  }

  async #link(existing: Buffer, job: FileJob): Promise<void> {
    await this.#attempt(job.relative, () => {
      if (job.existing !== 'none') job.folder.target.remove(job.name);
      job.folder.target.createHardLink(existing, job.name);
    });
  }

  async #file(job: FileJob): Promise<{ stored: Promise<void> }> {
    const { content, sizeBytes } = job.entry;
    this.#result.fileCount++;
    const isBatched =
      content?.form === 'pieces' &&
      sizeBytes <= BATCHED_SIZE_BYTES_MAX &&
      job.existing !== 'update';
    if (isBatched) return await this.#addToBatch(job, content.pieces);
    // The folder is opened now, while it is certain that it is not closed yet.
    void job.folder.target;
    const stored = Promise.withResolvers<void>();
    await this.#tasks.add(async () => {
      await this.#attempt(job.relative, () => this.#writer.writeLarge(job));
      stored.resolve();
    });
    return { stored: stored.promise };
  }

  async #addToBatch(
    job: FileJob,
    pieces: readonly ContentPiece[],
  ): Promise<{ stored: Promise<void> }> {
    const isFull = (batch: Batch): boolean =>
      batch.used + job.entry.sizeBytes > SLAB_SIZE_BYTES ||
      batch.jobs.length >= FILES_PER_BATCH ||
      batch.folders.size >= FOLDERS_PER_BATCH;
    if (this.#batch && isFull(this.#batch)) await this.#flushBatch();
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

  async #flushBatch(): Promise<void> {
    const batch = this.#batch;
    if (!batch) return;
    this.#batch = undefined;
    await this.#tasks.add(async () => {
      try {
        await this.#writeBatch(batch);
      } finally {
        this.#slabs.release(batch.slab);
        batch.stored.resolve();
      }
    });
  }

  async #writeBatch({ slab, jobs }: Batch): Promise<void> {
    const { reader, work, signal } = this.#options;
    signal?.throwIfAborted();
    const owners = new Map<ChunkRequest, FileJob>();
    for (const { job, pieces, offset } of jobs) {
      for (const request of requestsAt(pieces, offset)) owners.set(request, job);
    }
    const failures = await reader.readInto(slab, [...owners.keys()], work);
    const failed = new Map(failures.map(({ request, error }) => [owners.get(request), error]));
    for (const { job, pieces, offset } of jobs) {
      const failure = failed.get(job);
      if (failure) this.#find(failure.code, job.relative, failure.message);
      else {
        await this.#attempt(job.relative, () =>
          this.#writer.writeSmall(job, slab.bytes.subarray(offset), pieces),
        );
      }
    }
  }

  /** What concerns one path is a finding; what concerns the store or the space ends the run. */
  async #attempt(relative: Buffer, task: () => void | Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      const code = isChunkError(error) ? error.code : pathErrorCode(error);
      if (code === undefined) throw error;
      this.#find(code, relative, error instanceof Error ? error.message : String(error));
    }
  }

  #refused(relative: Buffer): OnRefused {
    return (what, error) => {
      const message = error instanceof Error ? error.message : String(error);
      if (what === 'attribute') this.#find('attribute-not-restored', relative, message);
      else if (!this.#refusedOnce.has(what)) {
        this.#refusedOnce.add(what);
        this.#find('owner-not-restored', relative, `${message} (told once)`);
      }
    };
  }

  #find(code: string, relative: Buffer, message: string): void {
    this.#options.onFinding({ code, path: relative.toString('utf8'), message });
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

/** The code of a failure that concerns one path; undefined for one that concerns all of them. */
function pathErrorCode(error: unknown): string | undefined {
  const code = systemErrorCode(error);
  const isGeneral =
    code === undefined || ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'ENFILE'].includes(code);
  if (isCofferError(error, 'target-unwritable') || isCofferError(error, 'object-damaged')) {
    return error.code;
  }
  return isGeneral || error instanceof CofferError ? undefined : 'not-restored';
}
