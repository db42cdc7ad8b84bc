/**
 * The records that stand beside points, under the ids of these: holds, marks and receipts. They go
 * with their point. What else lies under their prefixes is no part of the repository, and stays.
 */
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { parseDamagedName } from './damaged-points.ts';
import { checkDeletion, parseDeletionName } from './deleted-points.ts';
import { checkHold, parseHoldName } from './hold.ts';
import { storedPoints } from './points.ts';
import { checkReceipt, parseReceiptName } from './receipt.ts';
import { getRecord } from './store-calls.ts';

interface Kind {
  readonly prefix: string;
  /** The id in a name; undefined for one that is none of ours. */
  readonly pointOf: (name: string) => string | undefined;
  /** Fails with `object-damaged`. */
  readonly check: (bytes: Buffer, name: string) => unknown;
}

/** Marks of damaged points are not among those that are checked: their names say all. */
const CHECKED: readonly Kind[] = [
  { prefix: 'holds/', pointOf: (name) => parseHoldName(name)?.point, check: checkHold },
  { prefix: 'deleted/', pointOf: parseDeletionName, check: checkDeletion },
  {
    prefix: 'receipts/',
    pointOf: parseReceiptName,
    check: (bytes, name) => checkReceipt(bytes, name),
  },
];

const ALL: readonly Pick<Kind, 'prefix' | 'pointOf'>[] = [
  ...CHECKED,
  { prefix: 'damaged/', pointOf: parseDamagedName },
];

export interface RecordBeside {
  readonly name: string;
  /** The id of its point. */
  readonly point: string;
}

/** A record, and how to look at it. Fails with `object-damaged`, or `object-not-found`. */
export interface CheckedRecord extends RecordBeside {
  readonly check: () => Promise<unknown>;
}

/** Those that verification and repair look at. */
export async function listCheckedRecords(store: ObjectStore): Promise<CheckedRecord[]> {
  const records: CheckedRecord[] = [];
  for (const kind of CHECKED) {
    for (const { name, point } of await listRecords(store, [kind])) {
      const check = async (): Promise<unknown> => kind.check(await getRecord(store, name), name);
      records.push({ name, point, check });
    }
  }
  return records;
}

/** Of the points whose ids begin so. */
async function listRecords(
  store: ObjectStore,
  kinds: readonly Pick<Kind, 'prefix' | 'pointOf'>[],
  idPrefix = '',
): Promise<RecordBeside[]> {
  const records: RecordBeside[] = [];
  for (const { prefix, pointOf } of kinds) {
    for await (const { name } of store.list(prefix + idPrefix)) {
      const point = pointOf(name);
      if (point !== undefined) records.push({ name, point });
    }
  }
  return records;
}

/** After the point itself: a point whose mark went first would show itself for a moment. */
export async function removeRecordsOf(store: ObjectStore, pointId: string): Promise<void> {
  for (const { name } of await listRecords(store, ALL, pointId)) await store.delete(name);
}

/** Those of points that are neither listed nor committed, which a removal that was killed has left. */
export async function removeRecordsOfGonePoints(store: ObjectStore): Promise<void> {
  // Before the points: what is put for a point that exists is never taken for a gone one's.
  const records = await listRecords(store, ALL);
  const points = await storedPoints(store, { filter: undefined, onDamaged: undefined });
  for (const { name, point } of records) if (!points.has(point)) await store.delete(name);
}
