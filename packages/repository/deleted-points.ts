/**
 * Points that were deleted for a while: they are hidden and kept, until they come back or are purged.
 * A mark that cannot be read hides nothing, since nobody knows that anyone has deleted the point: to
 * show one too many loses nothing, to hide one for ever does. FORMAT.md, section 15.
 */
import { CofferError, isCofferError, mapBounded } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { count, decodeRecord, encodeChecked, hexOf, shortText } from './record.ts';
import { getRecordIfThere } from './store-calls.ts';

const PREFIX = 'deleted/';

const Deletion = v.object({
  /** Its id. */
  point: hexOf(16),
  /** When it was deleted, in ms since 1970. */
  at: count,
  /** From when on it may be purged. */
  until: count,
  /** Who deleted it, for people. */
  by: shortText,
});

export type Deletion = v.InferOutput<typeof Deletion>;

export function deletionName(pointId: string): string {
  return PREFIX + pointId;
}

/** The id in such a name; undefined for another one. */
export function parseDeletionName(name: string): string | undefined {
  return /^deleted\/([0-9a-f]{32})$/.exec(name)?.[1];
}

export function encodeDeletion(deletion: Deletion): Buffer {
  return encodeChecked('deleted', Deletion, deletion);
}

/** Fails with `object-damaged`. */
export function checkDeletion(bytes: Buffer, name: string): Deletion {
  const deletion = decodeRecord('deleted', Deletion, bytes, name);
  if (deletionName(deletion.point) === name) return deletion;
  throw new CofferError('object-damaged', { object: name, reason: 'its name is wrong' });
}

/** Marks fetched at once. */
const FETCHES_AT_ONCE = 16;

/** Ids of the points that begin so, and that have a mark. */
export async function listDeletions(store: ObjectStore, idPrefix = ''): Promise<string[]> {
  const ids: string[] = [];
  for await (const { name } of store.list(PREFIX + idPrefix)) {
    const id = parseDeletionName(name);
    if (id !== undefined) ids.push(id);
  }
  return ids;
}

/** By the ids of points; without marks that are gone by now, or that cannot be read. */
export async function readDeletions(
  store: ObjectStore,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Deletion>> {
  const read = await mapBounded(ids, FETCHES_AT_ONCE, (id) =>
    readIfIntact(store, deletionName(id)),
  );
  return new Map(read.filter((each) => each !== undefined).map((each) => [each.point, each]));
}

async function readIfIntact(store: ObjectStore, name: string): Promise<Deletion | undefined> {
  try {
    const bytes = await getRecordIfThere(store, name);
    return bytes && checkDeletion(bytes, name);
  } catch (error) {
    if (isCofferError(error, 'object-damaged')) return undefined;
    if (isCofferError(error, 'repository-version')) return undefined;
    throw error;
  }
}

/** What is deleted already stays as it is. */
export async function markDeleted(store: ObjectStore, deletion: Deletion): Promise<void> {
  const name = deletionName(deletion.point);
  try {
    await store.put(name, encodeDeletion(deletion));
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
    if (await readIfIntact(store, name)) return;
    await store.delete(name);
    await store.put(name, encodeDeletion(deletion));
  }
}
