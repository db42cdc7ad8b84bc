/** What no error would tell later: whether a store keeps what is there. */
import { CofferError, isCofferError } from '@coffer/base';
import type { ObjectStore } from './object-store.ts';

/**
 * Puts an object, puts another one of its name, and deletes it. Fails with `store-unsupported` where
 * the store has replaced it: servers that do not know `If-None-Match` ignore it in silence.
 */
export async function tryStore(store: ObjectStore, name: string): Promise<void> {
  await store.put(name, Buffer.from('first'));
  try {
    await store.put(name, Buffer.from('second'));
    throw new CofferError('store-unsupported', { name, reason: 'it replaces objects' });
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
  } finally {
    await store.delete(name).catch(() => {
      // Who may only add cannot; a collection of garbage deletes it a day later.
    });
  }
}
