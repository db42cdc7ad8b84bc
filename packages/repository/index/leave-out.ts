/** Takes packs out of the index. */
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { getIfThere, putIfAbsent } from '../store-calls.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { decodeIndexObject, encodeIndexObject } from './index-codec.ts';

export interface Replacement {
  /** Index objects that name one of the packs. */
  readonly replaced: readonly string[];
  /** Written in their place: they name the other packs of those. */
  readonly written: readonly string[];
}

/**
 * Writes index objects that name all packs of the affected ones but those given (hexadecimal). The
 * affected objects stay; who calls deletes them, once nobody needs them.
 */
export async function writeReplacements(
  { store, index }: { readonly store: ObjectStore; readonly index: ChunkIndex },
  packs: ReadonlySet<string>,
  generation: number,
): Promise<Replacement> {
  const affected = new Set<string>();
  for (const { pack, object } of index.packs()) {
    if (packs.has(pack.toString('hex'))) affected.add(object);
  }
  const written: string[] = [];
  for (const name of affected) {
    const bytes = await getIfThere(store, name);
    if (!bytes) continue;
    const kept = decodeIndexObject({ name, bytes }).filter(
      ({ pack }) => !packs.has(pack.toString('hex')),
    );
    if (kept.length === 0) continue;
    const replacement = encodeIndexObject(kept, generation);
    await putIfAbsent(store, replacement.name, replacement.bytes);
    written.push(replacement.name);
  }
  return { replaced: [...affected], written };
}
