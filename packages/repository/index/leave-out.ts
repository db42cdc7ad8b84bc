/** Takes packs out of the index. */
import { CofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { PackDescription } from '../pack/pack-codec.ts';
import { getIfThere, putIfAbsent } from '../store-calls.ts';
import type { ChunkIndex } from './chunk-index.ts';
import {
  decodeIndexObject,
  encodeIndexObject,
  INDEX_OBJECT_SIZE_BYTES_MAX,
} from './index-codec.ts';

export interface Replacement {
  /** Index objects that name one of the packs. */
  readonly replaced: readonly string[];
  /** Written in their place: they name the other packs of those. */
  readonly written: readonly string[];
}

export interface ReplacementOptions {
  readonly generation: number;
  /** All index objects that count; each has to be in the local index. */
  readonly objects: ReadonlySet<string>;
  /**
   * Packs (hexadecimal) that a collection has condemned, and the generation before it: only what is
   * named there is taken out of the index when the packs are swept.
   */
  readonly condemned?: { readonly packs: ReadonlySet<string>; readonly generation: number };
}

/**
 * Writes index objects that name all packs of the affected ones but those given (hexadecimal). The
 * affected objects stay; who calls deletes them, once nobody needs them. Fails with `gc-superseded`
 * when another process has taken an object out of the local index meanwhile.
 */
export async function writeReplacements(
  { store, index }: { readonly store: ObjectStore; readonly index: ChunkIndex },
  packs: ReadonlySet<string>,
  { generation, objects, condemned }: ReplacementOptions,
): Promise<Replacement> {
  const affected = new Set<string>();
  for (const { pack, object } of index.packs()) {
    if (packs.has(pack.toString('hex'))) affected.add(object);
  }
  for (const name of objects) {
    if (index.hasObject(name)) continue;
    throw new CofferError('gc-superseded', { reason: 'the index was changed meanwhile' });
  }
  const written: string[] = [];
  for (const name of affected) {
    const bytes = await getIfThere(store, name, INDEX_OBJECT_SIZE_BYTES_MAX);
    if (!bytes) continue;
    const kept = decodeIndexObject({ name, bytes }).filter(
      ({ pack }) => !packs.has(pack.toString('hex')),
    );
    const isCondemned = ({ pack }: PackDescription): boolean =>
      condemned?.packs.has(pack.toString('hex')) ?? false;
    const parts = [
      { part: kept.filter((pack) => !isCondemned(pack)), in: generation },
      { part: kept.filter(isCondemned), in: condemned?.generation ?? generation },
    ];
    for (const { part, in: generationOfPart } of parts) {
      if (part.length === 0) continue;
      const replacement = encodeIndexObject(part, generationOfPart);
      await putIfAbsent(store, replacement.name, replacement.bytes);
      written.push(replacement.name);
    }
  }
  return { replaced: [...affected], written };
}
