/**
 * That a point was removed is noted, so that a point which nobody removed is known as lost: the newest
 * sweep names those that were there. A note goes with the first sweep that does not name the point.
 * FORMAT.md, section 15.
 */
import { type Clock, CofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { readGcState, type SweepMemory } from './generations/gc-record.ts';
import { storedPoints } from './points.ts';
import { count, decodeRecord, encodeChecked, hexOf } from './record.ts';
import { putIfAbsent } from './store-calls.ts';

const PREFIX = 'removed/';

const Removal = v.object({
  /** Its id. */
  point: hexOf(16),
  /** When it was removed, in ms since 1970. */
  at: count,
});

/** The id of the point; undefined for a name that is none of ours. */
export function parseRemovalName(name: string): string | undefined {
  return /^removed\/([0-9a-f]{32})$/.exec(name)?.[1];
}

export function encodeRemoval(removal: v.InferOutput<typeof Removal>): Buffer {
  return encodeChecked('removed', Removal, removal);
}

/** Fails with `object-damaged`. */
export function checkRemoval(bytes: Buffer, name: string): void {
  const { point } = decodeRecord('removed', Removal, bytes, name);
  if (PREFIX + point === name) return;
  throw new CofferError('object-damaged', { object: name, reason: 'its name is wrong' });
}

interface Noting {
  readonly store: ObjectStore;
  readonly clock: Clock;
}

/** To be put before the point goes. */
export async function noteRemoval({ store, clock }: Noting, point: string): Promise<void> {
  await putIfAbsent(store, PREFIX + point, encodeRemoval({ point, at: clock.now() }));
}

/** Of a note that is damaged: its name still says what counts. */
export async function noteRemovalAnew(noting: Noting, point: string): Promise<void> {
  await noting.store.delete(PREFIX + point);
  await noteRemoval(noting, point);
}

/** Ids, as the names say them: what such a record says beside is for people. */
async function notedRemovals(store: ObjectStore): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const { name } of store.list(PREFIX)) {
    const id = parseRemovalName(name);
    if (id !== undefined) ids.add(id);
  }
  return ids;
}

async function idsOfPoints(store: ObjectStore): Promise<ReadonlySet<string>> {
  const points = await storedPoints(store, { filter: undefined, onDamaged: () => {} });
  return new Set(points.keys());
}

/** Ids of points that were there at the newest sweep, are gone, and that nobody has removed. */
export async function lostPoints(store: ObjectStore, sweeps?: SweepMemory): Promise<string[]> {
  for (;;) {
    const { sweep } = await readGcState(store, sweeps);
    if (!sweep) return [];
    // Points first: one that goes meanwhile is noted by then.
    const present = await idsOfPoints(store);
    const noted = await notedRemovals(store);
    const lost = sweep.survivors.filter((id) => !present.has(id) && !noted.has(id));
    const after = await readGcState(store, sweeps);
    // A collection drops notes once it has swept.
    if (after.sweep?.collection === sweep.collection) return lost;
  }
}

/** After a sweep: drops the notes of points that are gone, and that it does not name. */
export async function dropNotedRemovals(store: ObjectStore): Promise<void> {
  const noted = await notedRemovals(store);
  if (noted.size === 0) return;
  const present = await idsOfPoints(store);
  const { sweep } = await readGcState(store);
  const named = new Set(sweep?.survivors);
  for (const id of noted) {
    if (!present.has(id) && !named.has(id)) await store.delete(PREFIX + id);
  }
}
