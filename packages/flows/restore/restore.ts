/** The restore flow: a recovery point, or a part of it, goes to a path. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { CofferError, type FileEntry, type Finding, isCofferError } from '@coffer/base';
import {
  isChunkError,
  openManifest,
  type RecoveryPoint,
  type Repository,
} from '@coffer/repository';
import type { FolderMetadata } from '@coffer/workloads/files/target-folder.ts';
import { excludeBy } from '@coffer/workloads/files/selection.ts';
import { parseManifest, rootMetadata } from '../backup/manifest.ts';
import { diskOf } from '../point-disks.ts';
import { findPath, rootFolder } from '../point-path.ts';
import type { Progress } from '../progress.ts';
import type { Conflict } from './conflict.ts';
import { type DiskRestoreMode, type DiskRestoreResult, restoreDisk } from './disk.ts';
import { type ImageChoice, openDiskTarget, refuseOccupiedDisk } from './disk-target.ts';
import { type FilesRestoreOptions, restoreEntry, restoreFiles } from './files.ts';
import { measureFiles } from './measure.ts';
import { verifyFiles } from './verify-files.ts';

export interface RestoreOptions {
  readonly repository: Repository;
  readonly point: RecoveryPoint;
  /** Of a point of disks: which one; it needs no name when there is only one. */
  readonly disk?: string | undefined;
  /** On a disk: the volume whose files are restored; undefined for the disk as a whole. */
  readonly volume?: string | undefined;
  /** Path in a point of files or on a volume; empty for all of it. */
  readonly path: string;
  /** Absolute path: the folder that receives the files, or the image or block device. */
  readonly target: string;
  /** Of a disk: the format of the image that is made or written to. */
  readonly image?: ImageChoice | undefined;
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
    isWholeDisk(options) ? restoreToDisk(options) : restoreToFolder(options),
  );
  return {
    point: point.id,
    target,
    ...outcome,
    durationMs: repository.clock.now() - startedAt,
  };
}

function isWholeDisk({ point, volume }: RestoreOptions): boolean {
  return point.kind !== 'files' && volume === undefined;
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
  const metadata = rootMetadata(stored);
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
  const root = diskOf(point, options.disk);
  if (options.path !== '') {
    const reason = 'files are on volumes: POINT/DISK/VOLUME:PATH';
    throw new CofferError('path-not-found', { path: options.path, reason });
  }
  const source = { root: Buffer.from(root.root, 'hex'), sizeBytes: root.sizeBytes };
  refuseOccupiedDisk(options);
  if (options.dryRun) {
    return { bytesWritten: source.sizeBytes, bytesKept: 0, verified: false, findings: [] };
  }
  const opened = await openDiskTarget({
    ...options,
    image: options.image ?? { subformat: 'dynamic' },
    sizeBytes: source.sizeBytes,
    clock: repository.clock,
    random: repository.random,
  });
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
