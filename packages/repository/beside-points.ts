/**
 * The records that stand beside points, under the ids of these: holds, marks and receipts. They go
 * with their point. What else lies under their prefixes is no part of the repository, and stays.
 */
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { parseDamagedName } from './damaged-points.ts';
import { parseDeletionName } from './deleted-points.ts';
import { parseHoldName } from './hold.ts';
import { storedPoints } from './points.ts';
import { parseReceiptName } from './receipt.ts';

interface Kind {
  readonly prefix: string;
  /** The id in a name; undefined for one that is none of ours. */
  readonly pointOf: (name: string) => string | undefined;
}

const KINDS: readonly Kind[] = [
  { prefix: 'holds/', pointOf: (name) => parseHoldName(name)?.point },
  { prefix: 'deleted/', pointOf: parseDeletionName },
  { prefix: 'receipts/', pointOf: parseReceiptName },
  { prefix: 'damaged/', pointOf: parseDamagedName },
];

interface RecordBeside {
  readonly name: string;
  /** The id of its point. */
  readonly point: string;
}

/** Of the points whose ids begin so. */
async function listRecords(store: ObjectStore, idPrefix = ''): Promise<RecordBeside[]> {
  const records: RecordBeside[] = [];
  for (const { prefix, pointOf } of KINDS) {
    for await (const { name } of store.list(prefix + idPrefix)) {
      const point = pointOf(name);
      if (point !== undefined) records.push({ name, point });
    }
  }
  return records;
}

/** After the point itself: a point whose mark went first would show itself for a moment. */
export async function removeRecordsOf(store: ObjectStore, pointId: string): Promise<void> {
  for (const { name } of await listRecords(store, pointId)) await store.delete(name);
}

/** Those of points that are neither listed nor committed, which a removal that was killed has left. */
export async function removeRecordsOfGonePoints(store: ObjectStore): Promise<void> {
  // Before the points: what is put for a point that exists is never taken for a gone one's.
  const records = await listRecords(store);
  const points = await storedPoints(store, { filter: undefined, onDamaged: undefined });
  for (const { name, point } of records) if (!points.has(point)) await store.delete(name);
}
