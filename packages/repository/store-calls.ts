/** Calls of the store that several parts make in the same way. */
import { isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';

/** For objects whose content follows from their name: whoever wrote it wrote the same. */
export async function putIfAbsent(store: ObjectStore, name: string, bytes: Buffer): Promise<void> {
  try {
    await store.put(name, bytes);
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
  }
}

/** Undefined when there is no such object. */
export async function getIfThere(store: ObjectStore, name: string): Promise<Buffer | undefined> {
  try {
    return await store.get(name);
  } catch (error) {
    if (isCofferError(error, 'object-not-found')) return undefined;
    throw error;
  }
}
