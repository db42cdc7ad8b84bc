/** Restore of files into a folder: of a recovery point of files, or of a volume of its disk. */
import { closeSync } from 'node:fs';
import { CofferError, type Finding, systemErrorCode } from '@coffer/base';
import { makePath, namesIn, OPEN_FOLDER, OPEN_READ, openPath } from '@coffer/base/folder-calls.ts';
import { bytesOfText } from '@coffer/base/path-text.ts';
import type { RecoveryPoint } from '@coffer/repository';
import { excludeBy } from '@coffer/workloads/files/selection.ts';
import { openBrowsed } from '../browse/browsed.ts';
import type { Conflict } from './conflict.ts';
import { restoreFiles } from './files.ts';
import type { FilesSource } from './files-source.ts';
import { measureFiles } from './measure.ts';
import { METADATA_CODES, PathFindings } from './path-findings.ts';
import { openPointSource } from './point-source.ts';
import type { RestoreOptions } from './restore.ts';
import { verifyFiles } from './verify-files.ts';
import { openVolumeSource } from './volume-source.ts';
import type { WalkOptions } from './walk-source.ts';

/** `target` is the folder. */
export type FolderRestoreOptions = Omit<RestoreOptions, 'image'>;

export interface FolderRestoreResult {
  readonly bytesWritten: number;
  readonly bytesKept: number;
  readonly verified: boolean;
  readonly findings: readonly Finding[];
}

/**
 * All that can be restored is, and what cannot be is told by the findings. Fails when the point has
 * lost data, after all else is restored, with `target-not-empty` and with the codes of
 * `openBrowsed`.
 */
export async function restoreToFolder(options: FolderRestoreOptions): Promise<FolderRestoreResult> {
  const source = await openSource(options);
  try {
    refuseOccupied(options.target, options.conflict);
    const findings: Finding[] = [];
    const restored = options.dryRun
      ? await measure(source, options, findings)
      : await run(source, options, findings);
    throwIfDataIsLost(options.point, findings);
    const areWhole = findings.every(({ code }) => METADATA_CODES.has(code));
    const verified = options.verify && !options.dryRun && areWhole;
    return { ...restored, verified, findings };
  } finally {
    await source.close();
  }
}

async function openSource(options: FolderRestoreOptions): Promise<FilesSource> {
  const { repository, point, disk, volume, passphrase, path } = options;
  const signal = options.signal ?? new AbortController().signal;
  if (point.kind === 'files' && disk === undefined) {
    return await openPointSource(repository, point, path, signal);
  }
  const fileSystem = await openBrowsed(repository, point, { disk, volume, passphrase }, signal);
  try {
    return await openVolumeSource(fileSystem, path);
  } catch (error) {
    await fileSystem.close();
    throw error;
  }
}

type Restored = Pick<FolderRestoreResult, 'bytesWritten' | 'bytesKept'>;

async function measure(
  source: FilesSource,
  options: FolderRestoreOptions,
  findings: Finding[],
): Promise<Restored> {
  const bytesWritten = await measureFiles(source, walkOptionsOf(options, findings));
  return { bytesWritten, bytesKept: 0 };
}

async function run(
  source: FilesSource,
  options: FolderRestoreOptions,
  findings: Finding[],
): Promise<Restored> {
  const { conflict, progress } = options;
  const target = bytesOfText(options.target);
  const isNewTarget = makeFolder(options.target);
  progress.bytesTotal = bytesKnownOf(source, options);
  const walkOptions = walkOptionsOf(options, findings);
  const restored = await restoreFiles(source, target, {
    ...walkOptions,
    conflict,
    isNewTarget,
    progress,
  });
  const { bytesWritten, bytesKept, names } = restored;
  if (options.verify) {
    await verifyFiles(source, target, { ...verifyOptionsOf(options, findings), names });
  }
  return { bytesWritten, bytesKept };
}

function walkOptionsOf(options: FolderRestoreOptions, findings: Finding[]): WalkOptions {
  return {
    findings: new PathFindings((finding) => findings.push(finding)),
    isIncluded: includeBy(options.include),
    signal: options.signal,
  };
}

/** What is told to be missing is not told again when it is not found. */
function verifyOptionsOf(options: FolderRestoreOptions, findings: Finding[]): WalkOptions {
  const missing = findings.filter(({ code }) => !METADATA_CODES.has(code));
  const told = new Set(missing.map(({ path }) => path));
  const walkOptions = walkOptionsOf(options, findings);
  const add = (finding: Finding): void => void (told.has(finding.path) || findings.push(finding));
  return { ...walkOptions, findings: new PathFindings(add) };
}

/** How much it will be; 0 where only a walk over all folders could tell. */
function bytesKnownOf({ wanted }: FilesSource, { point }: FolderRestoreOptions): number {
  if (wanted.type !== 'directory') return wanted.sizeBytes;
  return point.kind === 'files' ? (point.roots[0]?.sizeBytes ?? 0) : 0;
}

/** Fails with `target-not-empty` when nobody said what to do with what is there. */
function refuseOccupied(target: string, conflict: Conflict | undefined): void {
  if (conflict !== undefined || isEmpty(target)) return;
  throw new CofferError('target-not-empty', { target });
}

/** True also when it is not there. */
function isEmpty(target: string): boolean {
  try {
    const fd = openPath(bytesOfText(target), OPEN_READ | OPEN_FOLDER);
    try {
      return namesIn(fd).length === 0;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return true;
    throw new CofferError('target-unwritable', { target }, error);
  }
}

/** False when it was there. */
function makeFolder(target: string): boolean {
  try {
    return makePath(bytesOfText(target));
  } catch (error) {
    throw new CofferError('target-unwritable', { target }, error);
  }
}

function includeBy(patterns: readonly string[]): WalkOptions['isIncluded'] {
  if (patterns.length === 0) return () => true;
  const isNamed = excludeBy(patterns);
  return (relative, isFolder) => isNamed(relative.bytes, isFolder);
}

const LOSSES: ReadonlySet<string> = new Set(['chunk-damaged', 'chunk-missing', 'object-damaged']);

/** All that could be restored is; but a point that lost data is a failure, not a remark. */
function throwIfDataIsLost(point: RecoveryPoint, findings: readonly Finding[]): void {
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
