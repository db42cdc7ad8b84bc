/**
 * Marks of points that a repair has found to miss chunks. Nothing may be built on such a point: who
 * takes over what it reaches would miss the same. FORMAT.md, section 15.
 */
import type { Clock } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { count, decodeRecord, encodeChecked, hexOf } from './record.ts';
import { putIfAbsent } from './store-calls.ts';

const PREFIX = 'damaged/';

const Mark = v.object({
  /** Its id. */
  point: hexOf(16),
  foundAt: count,
});

export type DamagedMark = v.InferOutput<typeof Mark>;

export function encodeMark(mark: DamagedMark): Buffer {
  return encodeChecked('damaged', Mark, mark);
}

/** Fails with `object-damaged`. */
export function decodeMark(bytes: Buffer, name: string): DamagedMark {
  return decodeRecord('damaged', Mark, bytes, name);
}

export function damagedName(pointId: string): string {
  return PREFIX + pointId;
}

/** The id in such a name; undefined for another one. */
export function parseDamagedName(name: string): string | undefined {
  return /^damaged\/([0-9a-f]{32})$/.exec(name)?.[1];
}

export async function isMarkedDamaged(store: ObjectStore, pointId: string): Promise<boolean> {
  return (await store.stat(damagedName(pointId))) !== undefined;
}

/** Ids of all points that are marked. */
export async function markedDamaged(store: ObjectStore): Promise<ReadonlySet<string>> {
  const ids = new Set<string>();
  for await (const { name } of store.list(PREFIX)) ids.add(name.slice(PREFIX.length));
  return ids;
}

interface Marking {
  readonly store: ObjectStore;
  readonly clock: Clock;
}

/** Marks these points, and leaves the marks of others. */
export async function addMarks(
  { store, clock }: Marking,
  pointIds: readonly string[],
): Promise<void> {
  for (const point of pointIds) {
    const record = encodeMark({ point, foundAt: clock.now() });
    await putIfAbsent(store, damagedName(point), record);
  }
}

/** Marks these points, and no others: a backup may have stored again what others missed. */
export async function markDamaged(
  { store, clock }: Marking,
  pointIds: readonly string[],
): Promise<void> {
  const wanted = new Set(pointIds.map(damagedName));
  await addMarks({ store, clock }, pointIds);
  for await (const { name } of store.list(PREFIX)) {
    if (!wanted.has(name)) await store.delete(name);
  }
}
