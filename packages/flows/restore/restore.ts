/** The restore flow: a recovery point, or a part of it, goes to a path. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { CofferError, type FileEntry, type Finding, isCofferError } from '@coffer/base';
import type { WritableDisk } from '@coffer/disk/disk.ts';
import { createRawDisk, openWritableRawDisk } from '@coffer/disk/raw.ts';
import {
  isChunkError,
  openManifest,
  type RecoveryPoint,
  type Repository,
} from '@coffer/repository';
import type { FolderMetadata } from '@coffer/workloads/files/target-folder.ts';
import { excludeBy } from '@coffer/workloads/files/selection.ts';
import { parseManifest } from '../backup/manifest.ts';
import { findPath, rootFolder } from '../point-path.ts';
import type { Progress } from '../progress.ts';
import type { Conflict } from './conflict.ts';
import { type DiskRestoreMode, type DiskRestoreResult, restoreDisk } from './disk.ts';
import { type FilesRestoreOptions, restoreEntry, restoreFiles } from './files.ts';
import { measureFiles } from './measure.ts';
import { verifyFiles } from './verify-files.ts';

export interface RestoreOptions {
  readonly repository: Repository;
  readonly point: RecoveryPoint;
  /** Path in a point of files; empty for all of it. */
  readonly path: string;
  /** Absolute path: the folder that receives the files, or the image or block device. */
  readonly target: string;
  /** Undefined: the target has to be empty, or not there. */
  readonly conflict: Conflict | undefined;
  /** Patterns in the syntax of gitignore; with none, everything is restored. */
  readonly include: readonly string[];
  readonly dryRun: boolean;
  readonly verify: boolean;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

export interface RestoreResult {
  readonly point: string;
  readonly target: string;
  readonly bytesWritten: number;
  readonly bytesKept: number;
  readonly durationMs: number;
  readonly verified: boolean;
  readonly findings: readonly Finding[];
}

type Outcome = Pick<RestoreResult, 'bytesWritten' | 'bytesKept' | 'verified' | 'findings'>;

export async function restore(options: RestoreOptions): Promise<RestoreResult> {
  const { repository, point, target } = options;
  const startedAt = repository.clock.now();
  const outcome = await namingThePoint(point, () =>
    point.kind === 'disk' ? restoreToDisk(options) : restoreToFolder(options),
  );
  return {
    point: point.id,
    target,
    ...outcome,
    durationMs: repository.clock.now() - startedAt,
  };
}

/** A chunk that is lost is told with the item that lost it. */
async function namingThePoint<T>({ id, item }: RecoveryPoint, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    const isNamed = isCofferError(error) && error.details['item'] !== undefined;
    const isLoss = isChunkError(error) || isCofferError(error, 'object-damaged');
    if (isNamed || !isLoss) throw error;
    throw new CofferError(error.code, { ...error.details, point: id, item }, error);
  }
}

async function restoreToFolder(options: RestoreOptions): Promise<Outcome> {
  const { repository, point, target, progress, signal } = options;
  const findings: Finding[] = [];
  const reader = repository.reader(signal);
  const wanted = await findPath(reader, point, options.path);
  const isIncluded = includeBy(options.include);
  refuseOccupied(target, options.conflict);
  if (options.dryRun) {
    const bytesWritten = await measureFiles(reader, wanted, isIncluded);
    return { bytesWritten, bytesKept: 0, verified: false, findings };
  }
  makeFolder(target);
  progress.bytesTotal = point.roots[0]?.sizeBytes ?? 0;
  const filesOptions: FilesRestoreOptions = {
    reader,
    work: repository.work,
    conflict: options.conflict ?? 'fail',
    isIncluded,
    progress,
    onFinding: (finding) => findings.push(finding),
    signal,
  };
  const isSingle = wanted.form === 'entry' && wanted.entry.type !== 'directory';
  const root = wanted.form === 'root' ? rootOf(repository, point) : folderOf(wanted.entry);
  const { bytesWritten, bytesKept } =
    isSingle || !root
      ? await restoreEntry((wanted as { entry: FileEntry }).entry, target, filesOptions)
      : await restoreFiles(root, target, filesOptions);
  if (options.verify) findings.push(...(await verifyFiles(reader, wanted, target, isIncluded)));
  throwIfChunksFailed(point, findings);
  return { bytesWritten, bytesKept, verified: options.verify && findings.length === 0, findings };
}

function rootOf(
  repository: Repository,
  point: RecoveryPoint,
): { folder: Buffer; metadata: FolderMetadata | undefined } {
  const { rootFolder: stored } = parseManifest(openManifest(point, repository.keys));
  const metadata = stored && {
    ...stored,
    modifiedNs: BigInt(stored.modifiedNs),
    extendedAttributes: stored.extendedAttributes.map(({ name, value }) => ({
      name: Buffer.from(name, 'base64'),
      value: Buffer.from(value, 'base64'),
    })),
  };
  return { folder: rootFolder(point), metadata };
}

function folderOf(entry: FileEntry): { folder: Buffer; metadata: FolderMetadata } | undefined {
  return entry.folder && { folder: entry.folder, metadata: entry };
}

/** Fails with `target-not-empty` when nobody said what to do with what is there. */
function refuseOccupied(target: string, conflict: Conflict | undefined): void {
  if (conflict !== undefined || !existsSync(target)) return;
  try {
    if (readdirSync(target).length === 0) return;
  } catch (error) {
    throw new CofferError('target-unwritable', { target }, error);
  }
  throw new CofferError('target-not-empty', { target });
}

function makeFolder(target: string): void {
  try {
    mkdirSync(target, { recursive: true });
  } catch (error) {
    throw new CofferError('target-unwritable', { target }, error);
  }
}

function includeBy(patterns: readonly string[]): (relative: Buffer, isFolder: boolean) => boolean {
  if (patterns.length === 0) return () => true;
  return excludeBy(patterns);
}

const LOSSES: ReadonlySet<string> = new Set(['chunk-damaged', 'chunk-missing', 'object-damaged']);

/** All that could be restored is; but a point that lost data is a failure, not a remark. */
function throwIfChunksFailed(point: RecoveryPoint, findings: readonly Finding[]): void {
  const lost = findings.filter(({ code }) => LOSSES.has(code));
  const [first] = lost;
  if (!first) return;
  throw new CofferError(first.code as 'chunk-damaged', {
    point: point.id,
    item: point.item,
    filesNotRestored: lost.length,
    paths: lost
      .slice(0, 20)
      .map(({ path }) => path)
      .join(', '),
    first: first.message,
  });
}

async function restoreToDisk(options: RestoreOptions): Promise<Outcome> {
  const { repository, point, progress, signal } = options;
  const [root] = point.roots;
  if (!root || options.path !== '') throw new CofferError('kind-mismatch', { point: point.id });
  const source = { root: Buffer.from(root.root, 'hex'), sizeBytes: root.sizeBytes };
  if (options.dryRun) {
    if (isOccupied(options)) throw new CofferError('target-not-empty', { target: options.target });
    return { bytesWritten: source.sizeBytes, bytesKept: 0, verified: false, findings: [] };
  }
  const opened = await openTarget(options, source.sizeBytes);
  const run = async (mode: DiskRestoreMode): Promise<DiskRestoreResult> =>
    await restoreDisk({
      reader: repository.reader(signal),
      work: repository.work,
      source,
      target: opened.disk,
      mode,
      progress,
      signal,
    });
  try {
    const result = await run(opened.mode);
    throwIfFailed(point, result);
    await opened.disk.flush();
    if (options.verify) throwIfDifferent(point, await run('compare'));
    await opened.finish();
    const { bytesWritten, bytesKept } = result;
    return { bytesWritten, bytesKept, verified: options.verify, findings: [] };
  } catch (error) {
    await opened.discard();
    throw error;
  }
}

interface OpenedTarget {
  readonly disk: WritableDisk;
  readonly mode: DiskRestoreMode;
  /** Gives the target its name. */
  finish(): Promise<void>;
  /** Leaves nothing half-done under the name, unless the target was there before. */
  discard(): Promise<void>;
}

async function openTarget(options: RestoreOptions, sizeBytes: number): Promise<OpenedTarget> {
  const { target, conflict } = options;
  if (isOccupied(options)) throw new CofferError('target-not-empty', { target });
  const isOpenedAsItIs =
    existsSync(target) && (conflict === 'delta' || statSync(target).isBlockDevice());
  return isOpenedAsItIs ? await openExisting(options, sizeBytes) : await openNew(target, sizeBytes);
}

/** True when something is there that nobody said to write over. */
function isOccupied({ target, conflict }: RestoreOptions): boolean {
  if (conflict === 'delta' || conflict === 'overwrite' || !existsSync(target)) return false;
  const stats = statSync(target);
  return stats.isBlockDevice() || stats.size > 0;
}

/** Writes beside the final name, and renames when all is there. */
async function openNew(target: string, sizeBytes: number): Promise<OpenedTarget> {
  const partial = `${target}.coffer-partial`;
  rmSync(partial, { force: true });
  const disk = await createRawDisk(partial, sizeBytes);
  return {
    disk,
    mode: 'onto-zeroes',
    finish: async () => {
      await disk.close();
      renameSync(partial, target);
    },
    discard: async () => {
      await disk.close();
      rmSync(partial, { force: true });
    },
  };
}

async function openExisting(
  { target, conflict }: RestoreOptions,
  sizeBytes: number,
): Promise<OpenedTarget> {
  const disk = await openWritableRawDisk(target);
  if (disk.sizeBytes < sizeBytes) {
    await disk.close();
    throw new CofferError('target-too-small', { target, has: disk.sizeBytes, needs: sizeBytes });
  }
  const mode = conflict === 'delta' ? 'delta' : 'onto-anything';
  const close = async (): Promise<void> => await disk.close();
  return { disk, mode, finish: close, discard: close };
}

function throwIfFailed(point: RecoveryPoint, { failures }: DiskRestoreResult): void {
  const [first] = failures;
  if (!first) return;
  throw new CofferError(
    first.error.code,
    {
      ...first.error.details,
      point: point.id,
      item: point.item,
      chunksNotRestored: failures.length,
    },
    first.error,
  );
}

function throwIfDifferent(point: RecoveryPoint, { differences }: DiskRestoreResult): void {
  if (differences.length === 0) return;
  throw new CofferError('target-unwritable', {
    point: point.id,
    reason: 'the target does not hold what was written',
    chunksDifferent: differences.length,
    firstOffset: differences[0],
  });
}
