/** `coffer items`, `coffer points`. */
import { required } from '@coffer/base';
import type { PointFilter, RecoveryPoint } from '@coffer/repository';
import { formatBytes, formatTime, printResult, printTable } from '../output.ts';
import { printable } from '../printable.ts';
import { readablePoints, withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface PointsCommandOptions extends GlobalOptions {
  readonly item?: string;
}

export async function runPoints(options: PointsCommandOptions): Promise<void> {
  const { item } = options;
  const shown = await listPoints(options, item === undefined ? undefined : { item });
  const documents = shown.map(toDocument);
  if (options.json) printResult(options, documents, () => {});
  else {
    await printTable(
      ['POINT', 'TAKEN', 'KIND', 'SIZE', 'HELD', 'ITEM', 'TAGS'],
      shown.map((point) => [
        point.id.slice(0, 12),
        formatTime(point.takenAt),
        point.kind,
        formatBytes(bytesOf(point)),
        point.held ? 'held' : '',
        printable(point.item),
        printable(formatTags(point.tags)),
      ]),
    );
  }
}

export async function runItems(options: GlobalOptions): Promise<void> {
  const items = new Map<string, RecoveryPoint[]>();
  for (const point of await listPoints(options)) {
    items.set(point.item, [...(items.get(point.item) ?? []), point]);
  }
  const documents = [...items].map(([item, points]) => {
    const latest = required(points.at(-1), 'an item has a point');
    return {
      item,
      kind: latest.kind,
      points: points.length,
      latestPoint: latest.id,
      latestTakenAt: new Date(latest.takenAt).toISOString(),
      bytesSource: bytesOf(latest),
    };
  });
  if (options.json) printResult(options, documents, () => {});
  else {
    await printTable(
      ['ITEM', 'KIND', 'POINTS', 'LATEST', 'SIZE'],
      documents.map(({ item, kind, points, latestTakenAt, bytesSource }) => [
        printable(item),
        kind,
        String(points),
        formatTime(Date.parse(latestTakenAt)),
        formatBytes(bytesSource),
      ]),
    );
  }
}

async function listPoints(options: GlobalOptions, filter?: PointFilter): Promise<RecoveryPoint[]> {
  return await withRepository(options, (repository) => readablePoints(repository, options, filter));
}

function toDocument(point: RecoveryPoint): unknown {
  return {
    point: point.id,
    item: point.item,
    kind: point.kind,
    takenAt: new Date(point.takenAt).toISOString(),
    bytesSource: bytesOf(point),
    tags: point.tags,
    held: point.held,
  };
}

function bytesOf(point: RecoveryPoint): number {
  return point.roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function formatTags(tags: RecoveryPoint['tags']): string {
  return Object.entries(tags)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}
