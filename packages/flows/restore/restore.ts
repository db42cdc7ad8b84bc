/** The restore flow: a recovery point, or a part of it, goes to a path. */
import { CofferError, type Finding, isCofferError, type RunContext, tellPhase } from '@coffer/base';
import { shownText } from '@coffer/base/path-text.ts';
import { isChunkError, type RecoveryPoint, type UnlockedRepository } from '@coffer/repository';
import { diskOf } from '../point-disks.ts';
import type { Conflict } from './conflict.ts';
import { type DiskRestoreMode, type DiskRestoreResult, restoreDisk } from './disk/disk.ts';
import { type ImageChoice, openDiskTarget, refuseOccupiedDisk } from './disk/disk-target.ts';
import { restoreToFolder } from './files/to-folder.ts';

/** What all restores to a path have in common. */
interface PathRestore {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  /** Absolute path: the folder that receives the files, or the image or block device. */
  readonly target: string;
  readonly dryRun: boolean;
  readonly verify: boolean;
}

export interface ImageRestoreOptions extends PathRestore {
  /** It needs no name when there is only one. */
  readonly disk?: string | undefined;
  /** Of the image that is made or written to. */
  readonly image?: ImageChoice | undefined;
  /** What to do with an image that is there; else the target has to be empty, or not there. */
  readonly conflict?: Conflict | undefined;
}

export interface FilesRestoreOptions extends PathRestore {
  /** Of a point of disks: on which one; it needs no name when there is only one. */
  readonly disk?: string | undefined;
  /** On a disk: the volume whose files are restored. */
  readonly volume?: string | undefined;
  /** Opens an encrypted volume. */
  readonly passphrase?: Buffer | undefined;
  /** Path in a point of files or on a volume; empty for all of it. */
  readonly path: string;
  /** Of a volume: what gives rights on this host is restored, too (`privileges.ts`). */
  readonly privileges?: boolean | undefined;
  /** Undefined: the target has to be empty, or not there. */
  readonly conflict?: Conflict | undefined;
  /** Patterns in the syntax of gitignore; with none, everything is restored. */
  readonly include: readonly string[];
}

/** A place in a point, and where it goes: what it is follows from the point. */
export type RestoreOptions = FilesRestoreOptions & Pick<ImageRestoreOptions, 'image'>;

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

/** Fails with `usage` and `path-not-found` for what a disk as a whole has not. */
export async function restore(run: RunContext, options: RestoreOptions): Promise<RestoreResult> {
  const { point, volume, path, include } = options;
  if (point.kind === 'files' || volume !== undefined) return await restoreFiles(run, options);
  if (path !== '') {
    const reason = 'files are on volumes: POINT/DISK/VOLUME:PATH';
    throw new CofferError('path-not-found', { path, reason });
  }
  if (include.length > 0) {
    throw new CofferError('usage', {
      reason: 'a disk is restored whole: nothing of it can be chosen',
    });
  }
  return await restoreImage(run, options);
}

/** A disk of the point, to an image or a block device. */
export async function restoreImage(
  run: RunContext,
  options: ImageRestoreOptions,
): Promise<RestoreResult> {
  return await timed(run, options, (repository) => toImage(run, { ...options, repository }));
}

/** Files of the point, or of a volume of its disk, into a folder. */
export async function restoreFiles(
  run: RunContext,
  options: FilesRestoreOptions,
): Promise<RestoreResult> {
  return await timed(run, options, (repository) =>
    restoreToFolder(run, { ...options, repository }),
  );
}

async function timed(
  run: RunContext,
  { repository, point, target }: PathRestore,
  task: (repository: UnlockedRepository) => Promise<Outcome>,
): Promise<RestoreResult> {
  const startedAt = run.clock.now();
  const outcome = await namingThePoint(point, () => task(repository.during(run)));
  return { point: point.id, target, ...outcome, durationMs: run.clock.now() - startedAt };
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

/** Images are opened by paths that are text: other bytes would name another file. */
function refuseOtherBytes(target: string): void {
  if (target.isWellFormed()) return;
  const reason = 'the path of an image has to be UTF-8';
  throw new CofferError('usage', { target: shownText(target), reason });
}

async function toImage(run: RunContext, options: ImageRestoreOptions): Promise<Outcome> {
  const { repository, point } = options;
  refuseOtherBytes(options.target);
  const root = diskOf(point, options.disk);
  const source = { root: Buffer.from(root.root, 'hex'), sizeBytes: root.sizeBytes };
  refuseOccupiedDisk(options);
  if (options.dryRun) {
    return { bytesWritten: source.sizeBytes, bytesKept: 0, verified: false, findings: [] };
  }
  const opened = await openDiskTarget(run, {
    ...options,
    image: options.image ?? { subformat: 'dynamic' },
    sizeBytes: source.sizeBytes,
  });
  const pass = async (mode: DiskRestoreMode): Promise<DiskRestoreResult> =>
    await restoreDisk(run, {
      reader: repository.reader(),
      work: repository.work,
      source,
      target: opened.disk,
      mode,
    });
  try {
    tellPhase(run, 'restore-disks');
    const result = await pass(opened.mode);
    throwIfFailed(point, result);
    await opened.disk.flush();
    if (options.verify) {
      tellPhase(run, 'compare');
      throwIfDifferent(point, await pass('compare'));
    }
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
