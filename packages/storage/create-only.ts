/**
 * A store whose server has shown that it creates and never replaces, before anybody relies on it.
 *
 * All safety of a repository rests on that, and no error would tell that it is missing: servers that
 * do not know `If-None-Match`, or ignore it for some buckets (Ceph's RGW 16 where there is object
 * lock), answer as if all were well, and one may be put in the place of another at any time. So the
 * first small object that is put is put once more, as it is: that has to be refused, and where it is
 * not, no harm is done. A writer's first object says that it is there; nothing has relied on it yet.
 */
import { CofferError, isCofferError } from '@coffer/base';
import type { CallOptions, ObjectStore } from './object-store.ts';

/** Larger ones are not sent twice: those that a writer begins with are far smaller. */
const SHOWN_SIZE_BYTES_MAX = 64 * 1024;

/**
 * Puts fail with `store-unsupported` until the server has refused to replace an object. It is one
 * request more for each store that is opened and written to. Below it there must be no wrapper that
 * tries again: what such a one finds as it was to be, it takes for put.
 */
export function createOnly(store: ObjectStore): ObjectStore {
  let isShown = false;
  const put = async (name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> => {
    try {
      await store.put(name, bytes, options);
    } catch (error) {
      isShown ||= isCofferError(error, 'object-exists');
      throw error;
    }
    if (isShown || bytes.length > SHOWN_SIZE_BYTES_MAX) return;
    await putAgain(store, name, bytes, options);
    isShown = true;
  };
  return {
    location: store.location,
    capabilities: store.capabilities,
    put,
    putStream: (name, source, options) => store.putStream(name, source, options),
    get: (name, options) => store.get(name, options),
    getRange: (name, range, options) => store.getRange(name, range, options),
    getInto: (name, offset, target, options) => store.getInto(name, offset, target, options),
    stat: (name, options) => store.stat(name, options),
    list: (prefix, options) => store.list(prefix, options),
    delete: (name, options) => store.delete(name, options),
    protect: (name, untilMs, options) => store.protect(name, untilMs, options),
    removeLeftovers: (olderThanMs, options) => store.removeLeftovers(olderThanMs, options),
    close: () => store.close(),
  };
}

async function putAgain(
  store: ObjectStore,
  name: string,
  bytes: Uint8Array,
  options: CallOptions | undefined,
): Promise<void> {
  try {
    await store.put(name, bytes, options);
  } catch (error) {
    if (isCofferError(error, 'object-exists')) return;
    throw error;
  }
  throw new CofferError('store-unsupported', { name, reason: REPLACES });
}

export const REPLACES = 'it replaces objects, although it is told to create them only';
