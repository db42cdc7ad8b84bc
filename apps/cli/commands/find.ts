/** `coffer find`. */
import { type Finding, findingOf, isCofferError } from '@coffer/base';
import { type FoundPath, PathSearch } from '@coffer/flows/browse/find.ts';
import { compilePattern } from '@coffer/flows/browse/glob.ts';
import { rootFolder } from '@coffer/flows/root-folder.ts';
import { isChunkError, type RecoveryPoint, type UnlockedRepository } from '@coffer/repository';
import {
  formatBytes,
  formatTime,
  isoTimeOfNs,
  LinePrinter,
  printJson,
  reportFindings,
} from '../output.ts';
import { printable } from '../printable.ts';
import { interruptSignal } from '../run.ts';
import { readablePoints, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface FindCommandOptions extends GlobalOptions {
  readonly item?: string;
}

export async function runFind(pattern: string, options: FindCommandOptions): Promise<void> {
  const matches = compilePattern(pattern);
  await withUnlocked(options, async (repository) => {
    const search = new PathSearch(repository.reader(), matches);
    const documents: unknown[] = [];
    const findings: Finding[] = [];
    const lines = new LinePrinter();
    for (const point of await searchedPoints(repository, options)) {
      for await (const found of searchPoint(search, point, findings)) {
        interruptSignal.throwIfAborted();
        if (options.json) documents.push(toDocument(point, found));
        else lines.add(toLine(point, found));
      }
      lines.flush();
    }
    if (options.json) printJson(documents);
    reportFindings(options, findings);
  });
}

/** A damaged point must not hide what the others hold. */
async function* searchPoint(
  search: PathSearch,
  point: RecoveryPoint,
  findings: Finding[],
): AsyncGenerator<FoundPath> {
  try {
    yield* search.below(rootFolder(point));
  } catch (error) {
    if (!isChunkError(error) && !isCofferError(error, 'object-damaged')) throw error;
    const finding = findingOf(error, { kind: 'point', name: point.id });
    findings.push({ ...finding, details: { ...finding.details, item: point.item } });
  }
}

/** Points of files, of the item that was named. Fails with `item-not-found`. */
async function searchedPoints(
  repository: UnlockedRepository,
  options: FindCommandOptions,
): Promise<RecoveryPoint[]> {
  const { item } = options;
  const filter = item === undefined ? undefined : { item };
  const points = await readablePoints(repository, options, { filter });
  return points.filter(({ kind }) => kind === 'files');
}

function toDocument(point: RecoveryPoint, { path, entry }: FoundPath): unknown {
  return {
    point: point.id,
    item: point.item,
    takenAt: new Date(point.takenAt).toISOString(),
    path,
    type: entry.type,
    sizeBytes: entry.sizeBytes,
    modifiedAt: isoTimeOfNs(entry.modifiedNs),
  };
}

function toLine(point: RecoveryPoint, { path, entry }: FoundPath): string {
  const size = entry.type === 'file' ? formatBytes(entry.sizeBytes) : entry.type;
  const columns = [point.id.slice(0, 12), formatTime(point.takenAt), size.padStart(10)];
  return `${columns.join('  ')}  ${printable(path)}${entry.type === 'directory' ? '/' : ''}`;
}
