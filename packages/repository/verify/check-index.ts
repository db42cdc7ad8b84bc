/** Reads all index objects: the local index may hold what a damaged one said when it was intact. */
import { type CofferError, isCofferError, mapBounded } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import {
  decodeIndexObject,
  INDEX_OBJECT_SIZE_BYTES_MAX,
  indexGenerationOf,
} from '../index/index-codec.ts';
import { getIfThere } from '../store-calls.ts';

/** Index objects read at once. */
const FETCHES_AT_ONCE = 8;

/** The damage of each index object that is not what its name promises. */
export async function checkIndexObjects(
  store: ObjectStore,
  signal?: AbortSignal,
): Promise<CofferError[]> {
  const names: string[] = [];
  for await (const { name } of store.list('index/', { signal })) {
    if (indexGenerationOf(name) !== undefined) names.push(name);
  }
  const damaged: CofferError[] = [];
  await mapBounded(names, FETCHES_AT_ONCE, async (name) => {
    signal?.throwIfAborted();
    try {
      const bytes = await getIfThere(store, name, INDEX_OBJECT_SIZE_BYTES_MAX);
      // A garbage collection may have replaced it meanwhile.
      if (bytes) decodeIndexObject({ name, bytes });
    } catch (error) {
      if (!isCofferError(error, 'object-damaged')) throw error;
      damaged.push(error);
    }
  });
  return damaged;
}
