/** `coffer items`, `coffer points`. */
import { required } from '@coffer/base';
import type { RecoveryPoint, StoredHold } from '@coffer/repository';
import { formatBytes, formatTime, printResult, printTable } from '../output.ts';
import { printable } from '../printable.ts';
import { readablePoints, withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface PointsCommandOptions extends GlobalOptions {
  readonly item?: string;
  readonly deleted?: boolean;
}

export async function runPoints(options: PointsCommandOptions): Promise<void> {
  const { item, deleted = false } = options;
  const filter = item === undefined ? undefined : { item };
  const { shown, holds } = await withRepository(options, async (repository) => {
    // An item whose points are all deleted is one.
    const points = await readablePoints(repository, options, { filter, deleted: true });
    const holds = points.some(({ held }) => held) ? await repository.holds() : [];
    return { shown: points.filter(({ deletion }) => deleted === (deletion !== undefined)), holds };
  });
  const holdsOf = Map.groupBy(holds, ({ point }) => point);
  const documents = shown.map((point) => toDocument(point, holdsOf.get(point.id) ?? []));
  if (options.json) printResult(options, documents, () => {});
  else {
    await printTable(
      ['POINT', 'TAKEN', 'KIND', 'SIZE', deleted ? 'KEPT UNTIL' : 'HELD', 'ITEM', 'TAGS'],
      shown.map((point) => [
        point.id.slice(0, 12),
        formatTime(point.takenAt),
        point.kind,
        formatBytes(bytesOf(point)),
        point.deletion ? formatTime(point.deletion.until) : point.held ? 'held' : '',
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

async function listPoints(options: GlobalOptions): Promise<RecoveryPoint[]> {
  return await withRepository(options, (repository) => readablePoints(repository, options));
}

function toDocument(point: RecoveryPoint, holds: readonly StoredHold[]): unknown {
  const { deletion } = point;
  return {
    point: point.id,
    item: point.item,
    kind: point.kind,
    takenAt: isoTime(point.takenAt),
    bytesSource: bytesOf(point),
    tags: point.tags,
    held: point.held,
    holds: holds.map(toHoldDocument),
    deleted: deletion && {
      at: isoTime(deletion.at),
      until: isoTime(deletion.until),
      by: deletion.by,
    },
  };
}

function toHoldDocument({ holder, record }: StoredHold): unknown {
  // What cannot be read of a hold is not told, and holds all the same.
  if (!record) return { holder };
  const { reason, until, by, heldAt } = record;
  const end = until === undefined ? undefined : isoTime(until);
  return { holder, reason, until: end, by, heldAt: isoTime(heldAt) };
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

function bytesOf(point: RecoveryPoint): number {
  return point.roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function formatTags(tags: RecoveryPoint['tags']): string {
  return Object.entries(tags)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}
