/**
 * Which points exist: those that are listed under `points/`, and those that a session has committed
 * and not listed yet. What is asked for by its item or its id is read alone, and from the local cache
 * where it is known, since its id is the digest of its record.
 */
import { type CofferError, isCofferError, mapBounded } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { listDeletions, readDeletions } from './deleted-points.ts';
import { readGcState, survives } from './generations/gc-record.ts';
import { isInForce, listHolds, parseHoldName, readHolds } from './hold.ts';
import type { ChunkIndex } from './index/chunk-index.ts';
import {
  decodePointObject,
  itemFolder,
  parsePointObjectName,
  type PointObject,
  pointObjectName,
  type RecoveryPoint,
} from './recovery-point.ts';
import { isUnreadable } from './record.ts';
import { listSessions, readEndIfIntact } from './session/session-record.ts';
import { getRecord } from './store-calls.ts';

/** Points fetched at once when they are listed. */
const FETCHES_AT_ONCE = 16;

/** Which points are wanted; all of them unless it is said. */
export type PointFilter =
  | { readonly item: string }
  /** The beginning of ids, in hexadecimal. */
  | { readonly idPrefix: string };

/** Which points to list, and what of them. */
export interface PointsOptions {
  readonly filter?: PointFilter | undefined;
  /** Lists those that were deleted for a while, too. */
  readonly deleted?: boolean | undefined;
  /** Objects that are damaged are told to it, by their names, or thrown. */
  readonly onDamaged?: ((error: CofferError, name: string) => void) | undefined;
}

export interface ReadPointsOptions extends PointsOptions {
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  /** In ms since 1970, for holds that end. */
  readonly now: number;
  /** With it, points that no writer of the repository made are damaged. */
  readonly hashKey: Buffer | undefined;
}

/** A point that was listed or committed. */
export interface StoredPoint extends PointObject {
  /** Undefined when it is listed, and so to be fetched. */
  readonly bytes: Buffer | undefined;
}

/** The points that exist, oldest first. */
export async function readPoints(options: ReadPointsOptions): Promise<RecoveryPoint[]> {
  const { store, index, filter, onDamaged } = options;
  const state = await readGcState(store, index.sweeps);
  // Before the points: what is purged meanwhile is hidden, or gone, and never shows itself.
  const marked = await listDeletions(store, idPrefixOf(filter));
  const holds = await listHolds(store, idPrefixOf(filter));
  const found = await storedPoints(store, { filter, onDamaged });
  const ofFound = marked.filter((id) => found.has(id));
  const deletions = await readDeletions(store, ofFound);
  const purged = await purgedAmong(
    store,
    ofFound.filter((id) => !deletions.has(id)),
    found,
  );
  const isShown = (id: string): boolean =>
    !purged.has(id) && (options.deleted === true || !deletions.has(id));
  const stored = new Map(Array.from(found).filter(([id]) => isShown(id)));
  const held = await heldAmong(options, holds, stored);
  const fetched = new Map<string, Buffer>();
  const points = await mapBounded(stored.values(), FETCHES_AT_ONCE, async (objects) => {
    for (const each of objects.filter((object) => survives(object, state))) {
      const record = await readRecord(options, each, fetched);
      const { id, generation } = each;
      if (!record) continue;
      return { ...record, id, generation, held: held.has(id), deletion: deletions.get(id) };
    }
    return undefined;
  });
  keepRecords(options, found, fetched);
  return points.filter((point) => point !== undefined).sort(byTime);
}

/**
 * Of points whose mark went after it was listed: those that went themselves, which is before it. The
 * others have come back.
 */
async function purgedAmong(
  store: ObjectStore,
  ids: readonly string[],
  found: ReadonlyMap<string, readonly StoredPoint[]>,
): Promise<ReadonlySet<string>> {
  const purged = new Set<string>();
  for (const id of ids) {
    const listed = (found.get(id) ?? []).filter(({ bytes }) => bytes === undefined);
    const infos = await Promise.all(listed.map(({ name }) => store.stat(name)));
    if (infos.length > 0 && infos.every((info) => info === undefined)) purged.add(id);
  }
  return purged;
}

/** Ids of the points that a hold is in force for. */
async function heldAmong(
  { store, now }: ReadPointsOptions,
  names: readonly string[],
  points: ReadonlyMap<string, unknown>,
): Promise<ReadonlySet<string>> {
  const wanted = names.filter((name) => points.has(parseHoldName(name)?.point ?? ''));
  const holds = await readHolds(store, wanted);
  return new Set(holds.filter((hold) => isInForce(hold, now)).map(({ point }) => point));
}

/**
 * By id: what is listed, and what a session committed and did not list yet. Of several objects the
 * latest generation goes first, which a sweep is least likely to have passed over; where that is
 * damaged, another one may be whole.
 */
export async function storedPoints(
  store: ObjectStore,
  { filter, onDamaged }: Pick<ReadPointsOptions, 'filter' | 'onDamaged'>,
): Promise<ReadonlyMap<string, readonly StoredPoint[]>> {
  const points = new Map<string, StoredPoint[]>();
  const add = (point: StoredPoint): void => {
    if (filter && 'idPrefix' in filter && !point.id.startsWith(filter.idPrefix)) return;
    const known = points.get(point.id);
    if (known) known.push(point);
    else points.set(point.id, [point]);
  };
  // Sessions first: a session that lists its points in between is found at one of both places.
  for (const { session, hasEnd } of await listSessions(store)) {
    const end = hasEnd ? await readEndIfIntact(store, session, onDamaged) : undefined;
    if (end?.outcome !== 'committed') continue;
    for (const { id, item, record } of end.points) {
      if (filter && 'item' in filter && item !== filter.item) continue;
      const { generation } = end;
      const name = pointObjectName(item, generation, id);
      add({ id, generation, name, bytes: Buffer.from(record, 'base64') });
    }
  }
  for await (const { name } of store.list(folderOf(filter))) {
    const parsed = parsePointObjectName(name);
    if (parsed) add({ ...parsed, bytes: undefined });
  }
  for (const objects of points.values()) objects.sort((a, b) => b.generation - a.generation);
  return points;
}

/** What somebody typed need be no beginning of any id, nor of the name of any object. */
function idPrefixOf(filter: PointFilter | undefined): string {
  const prefix = filter && 'idPrefix' in filter ? filter.idPrefix : '';
  return /^[0-9a-f]*$/.test(prefix) ? prefix : '';
}

function folderOf(filter: PointFilter | undefined): string {
  return filter && 'item' in filter ? itemFolder(filter.item) : 'points/';
}

/** Undefined when it was removed meanwhile, or is damaged and that was told. */
async function readRecord(
  { store, index, hashKey, filter, onDamaged }: ReadPointsOptions,
  point: StoredPoint,
  fetched: Map<string, Buffer>,
): Promise<ReturnType<typeof decodePointObject> | undefined> {
  // Who asks for all of them wants to know what the store holds: verification, collections, copies.
  const cached = filter && !point.bytes ? index.pointRecord(point.name) : undefined;
  if (cached) {
    const record = readIfIntact(() => decodePointObject(point, cached, hashKey));
    if (record) return record;
  }
  try {
    const bytes = point.bytes ?? (await getRecord(store, point.name));
    const record = decodePointObject(point, bytes, hashKey);
    if (!point.bytes) fetched.set(point.name, bytes);
    return record;
  } catch (error) {
    if (isCofferError(error, 'object-not-found')) return undefined;
    if (!isUnreadable(error) || !onDamaged) throw error;
    onDamaged(error, point.name);
    return undefined;
  }
}

function readIfIntact<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isUnreadable(error)) return undefined;
    throw error;
  }
}

function keepRecords(
  { index, filter }: ReadPointsOptions,
  stored: ReadonlyMap<string, readonly StoredPoint[]>,
  fetched: ReadonlyMap<string, Buffer>,
): void {
  // With the beginnings of ids, not all that is there has been looked at.
  const present = new Set(
    Array.from(stored.values()).flatMap((each) => each.map(({ name }) => name)),
  );
  if (!filter || 'item' in filter) index.forgetOtherPointRecords(folderOf(filter), present);
  if (filter) index.keepPointRecords(fetched);
}

function byTime(a: RecoveryPoint, b: RecoveryPoint): number {
  return a.takenAt - b.takenAt || (a.id < b.id ? -1 : 1);
}
