/** Restore of files into a folder: of a recovery point of files, or of a volume of its disk. */
import { closeSync } from 'node:fs';
import {
  collecting,
  CofferError,
  damageIn,
  type Finding,
  type RunContext,
  severityOf,
  systemErrorCode,
  tellPhase,
  tellTotal,
} from '@coffer/base';
import { makePath, namesIn, OPEN_FOLDER, OPEN_READ, openPath } from '@coffer/base/folder-calls.ts';
import { bytesOfText } from '@coffer/base/path-text.ts';
import type { RecoveryPoint } from '@coffer/repository';
import { excludeBy } from '@coffer/workloads/files/selection.ts';
import { openBrowsed } from '../../browse/browsed.ts';
import type { Conflict } from '../conflict.ts';
import { restoreFiles } from './files.ts';
import type { FilesSource } from './files-source.ts';
import { measureFiles } from './measure.ts';
import { PathFindings } from './path-findings.ts';
import { openPointSource } from './point-source.ts';
import type { FilesRestoreOptions } from '../restore.ts';
import { verifyFiles } from './verify-files.ts';
import type { WalkOptions } from './walk-source.ts';

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
export async function restoreToFolder(
  outer: RunContext,
  options: FilesRestoreOptions,
): Promise<FolderRestoreResult> {
  const { run, findings } = collecting(outer);
  const source = await openSource(options);
  try {
    refuseOccupied(options.target, options.conflict);
    const restored = options.dryRun
      ? await measure(run, source, options)
      : await restoreAndVerify(run, source, options);
    throwIfDataIsLost(options.point, findings);
    const areWhole = !findings.some(isLoss);
    const verified = options.verify && !options.dryRun && areWhole;
    return { ...restored, verified, findings };
  } finally {
    await source.close();
  }
}

/** Of something that is not there with its content. */
function isLoss(finding: Finding): boolean {
  return severityOf(finding) === 'loss';
}

async function openSource(options: FilesRestoreOptions): Promise<FilesSource> {
  const { repository, point, disk, volume, passphrase, path, privileges } = options;
  if (point.kind === 'files' && disk === undefined) {
    return await openPointSource(repository, point, path);
  }
  const fileSystem = await openBrowsed(repository, point, { disk, volume, passphrase });
  try {
    const { openVolumeSource } = await import('./volume-source.ts');
    return await openVolumeSource(fileSystem, path, { privileges });
  } catch (error) {
    await fileSystem.close();
    throw error;
  }
}

type Restored = Pick<FolderRestoreResult, 'bytesWritten' | 'bytesKept'>;

async function measure(
  run: RunContext,
  source: FilesSource,
  options: FilesRestoreOptions,
): Promise<Restored> {
  const bytesWritten = await measureFiles(run, source, walkOptionsOf(run, options));
  return { bytesWritten, bytesKept: 0 };
}

async function restoreAndVerify(
  outer: RunContext,
  source: FilesSource,
  options: FilesRestoreOptions,
): Promise<Restored> {
  const { run, findings } = collecting(outer);
  const { conflict } = options;
  const target = bytesOfText(options.target);
  // Until it has its own mode, what is in it is for nobody else.
  const isNewTarget = makeFolder(options.target, source.rootMetadata ? 0o700 : undefined);
  tellPhase(run, 'restore-files');
  tellTotal(run, { bytes: bytesKnownOf(source, options) });
  const walkOptions = walkOptionsOf(run, options);
  const restored = await restoreFiles(run, source, target, {
    ...walkOptions,
    conflict,
    isNewTarget,
  });
  const { bytesWritten, bytesKept, names } = restored;
  if (options.verify) {
    tellPhase(run, 'compare');
    const unlessTold = withoutPathsOf(run, findings.filter(isLoss));
    const verifyOptions = { ...walkOptionsOf(unlessTold, options), names };
    await verifyFiles(unlessTold, source, target, verifyOptions);
  }
  return { bytesWritten, bytesKept };
}

function walkOptionsOf(run: RunContext, { include }: FilesRestoreOptions): WalkOptions {
  return { findings: new PathFindings(run), isIncluded: includeBy(include) };
}

/** What is told to be missing is not told again when it is not found. */
function withoutPathsOf(run: RunContext, missing: readonly Finding[]): RunContext {
  const told = new Set(missing.map(({ subject }) => subject.name));
  const tell: RunContext['tell'] = (event) => {
    const isTold = event.kind === 'finding' && told.has(event.finding.subject.name);
    if (!isTold) run.tell(event);
  };
  return { ...run, tell };
}

/** How much it will be; 0 where only a walk over all folders could tell. */
function bytesKnownOf({ wanted }: FilesSource, { point }: FilesRestoreOptions): number {
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
function makeFolder(target: string, mode: number | undefined): boolean {
  try {
    return makePath(bytesOfText(target), mode);
  } catch (error) {
    throw new CofferError('target-unwritable', { target }, error);
  }
}

function includeBy(patterns: readonly string[]): WalkOptions['isIncluded'] {
  if (patterns.length === 0) return () => true;
  const isNamed = excludeBy(patterns);
  return (relative, isFolder) => isNamed(relative.bytes, isFolder);
}

/** All that could be restored is; but a point that lost data is a failure, not a remark. */
function throwIfDataIsLost(point: RecoveryPoint, findings: readonly Finding[]): void {
  const lost = findings.filter((finding) => damageIn(finding) !== undefined);
  const [first] = lost;
  const code = first && damageIn(first);
  if (code === undefined) return;
  throw new CofferError(code, {
    point: point.id,
    item: point.item,
    filesNotRestored: lost.length,
    paths: lost
      .slice(0, 20)
      .map(({ subject }) => subject.name)
      .join(', '),
    ...first?.details,
  });
}
