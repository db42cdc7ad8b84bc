/** Takes packs out of the index objects of the store. */
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { getIfThere, putIfAbsent } from '../store-calls.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { decodeIndexObject, encodeIndexObject } from './index-codec.ts';

/**
 * Index objects that name these packs (hexadecimal) give way to ones that name their other packs
 * only. The new object is there before the old one goes; it can be killed and repeated.
 */
export async function leaveOutOfIndex(
  { store, index }: { readonly store: ObjectStore; readonly index: ChunkIndex },
  packs: ReadonlySet<string>,
): Promise<void> {
  const affected = new Set<string>();
  for (const { pack, object } of index.packs()) {
    if (packs.has(pack.toString('hex'))) affected.add(object);
  }
  for (const name of affected) {
    const bytes = await getIfThere(store, name);
    // Another one that carries on the same collection was faster.
    if (!bytes) continue;
    const kept = decodeIndexObject({ name, bytes }).filter(
      ({ pack }) => !packs.has(pack.toString('hex')),
    );
    if (kept.length > 0) {
      const replacement = encodeIndexObject(kept);
      await putIfAbsent(store, replacement.name, replacement.bytes);
    }
    await store.delete(name);
  }
}
