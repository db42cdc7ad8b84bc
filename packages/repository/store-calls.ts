/** Calls of the store that several parts make in the same way. */
import { isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { RECORD_SIZE_BYTES_MAX } from './record.ts';

/** For objects whose content follows from their name: whoever wrote it wrote the same. */
export async function putIfAbsent(store: ObjectStore, name: string, bytes: Buffer): Promise<void> {
  try {
    await store.put(name, bytes);
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
  }
}

/** The bytes of a record, for its codec. Fails with `object-damaged` for what can be none. */
export async function getRecord(store: ObjectStore, name: string): Promise<Buffer> {
  return await store.get(name, { sizeBytesMax: RECORD_SIZE_BYTES_MAX });
}

/** Undefined when there is no such record. */
export async function getRecordIfThere(
  store: ObjectStore,
  name: string,
): Promise<Buffer | undefined> {
  return await getIfThere(store, name, RECORD_SIZE_BYTES_MAX);
}

/** Undefined when there is no such object; fails with `object-damaged` when it is larger. */
export async function getIfThere(
  store: ObjectStore,
  name: string,
  sizeBytesMax: number,
): Promise<Buffer | undefined> {
  try {
    return await store.get(name, { sizeBytesMax });
  } catch (error) {
    if (isCofferError(error, 'object-not-found')) return undefined;
    throw error;
  }
}
