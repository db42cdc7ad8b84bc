/**
 * Points that the newest sweep does not name although they were there before it. A collection names
 * every point that it finds, so this is no sweep of a collection, but for a point that was removed and
 * put back in the moment of the sweep: somebody who can add objects has forged it. It would make every
 * point vanish, and the next collection delete them.
 */
import { isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { WriterKeys } from '../keys.ts';
import { decodePointObject, parsePointObjectName, type PointObject } from '../recovery-point.ts';
import { getRecord } from '../store-calls.ts';
import { type GcState, gcObjectName, isIndexObjectValid, survives } from './gc-record.ts';
import { indexGenerationOf } from '../index/index-codec.ts';

/** Objects under `points/`, or a folder in it, that the newest sweep passes over, and that are older. */
export async function objectsPassedOver(
  store: ObjectStore,
  state: GcState,
  prefix = 'points/',
): Promise<PointObject[]> {
  if (!state.sweep) return [];
  const passedOver: { point: PointObject; createdAt: number }[] = [];
  for await (const { name, createdAt } of store.list(prefix)) {
    const point = parsePointObjectName(name);
    if (point && !survives(point, state)) passedOver.push({ point, createdAt });
  }
  if (passedOver.length === 0) return [];
  const sweep = await store.stat(gcObjectName(state.sweep.generation, 'sweep'));
  return passedOver
    .filter(({ createdAt }) => sweep !== undefined && createdAt < sweep.createdAt)
    .map(({ point }) => point);
}

/**
 * Names of index objects that do not count though they are older than the newest sweep, which is done:
 * a collection deletes those before it is.
 */
export async function indexObjectsPassedOver(
  store: ObjectStore,
  state: GcState,
): Promise<string[]> {
  const { sweep, unfinished } = state;
  if (!sweep || sweep.generation === unfinished?.generation) return [];
  const stored = await store.stat(gcObjectName(sweep.generation, 'sweep'));
  const passedOver: string[] = [];
  for await (const { name, createdAt } of store.list('index/')) {
    const isOurs = indexGenerationOf(name) !== undefined;
    const isOlder = stored !== undefined && createdAt < stored.createdAt;
    if (isOurs && isOlder && !isIndexObjectValid(name, state)) passedOver.push(name);
  }
  return passedOver;
}

interface Keyed {
  readonly store: ObjectStore;
  /** Undefined when they are not at hand. */
  readonly keys: Pick<WriterKeys, 'hashKey'> | undefined;
}

/** Those that can be read; with keys, those that a writer of the repository has made. */
export async function pointsPassedOver(
  { store, keys }: Keyed,
  state: GcState,
): Promise<PointObject[]> {
  const passedOver: PointObject[] = [];
  for (const point of await objectsPassedOver(store, state)) {
    try {
      decodePointObject(point, await getRecord(store, point.name), keys?.hashKey);
      passedOver.push(point);
    } catch (error) {
      const isNone =
        isCofferError(error, 'object-damaged') || isCofferError(error, 'object-not-found');
      if (!isNone) throw error;
    }
  }
  return passedOver;
}
