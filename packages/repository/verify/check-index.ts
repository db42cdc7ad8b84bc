/**
 * Reads all index objects, since the local index may hold what a damaged one said when it was intact,
 * and compares what they say of packs with what the packs' own footers say.
 */
import { CofferError, isCofferError, mapBounded } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import {
  decodeIndexObject,
  INDEX_OBJECT_SIZE_BYTES_MAX,
  indexGenerationOf,
} from '../index/index-codec.ts';
import {
  encodePackEnd,
  isPackIntact,
  PACK_SIZE_BYTES_MAX,
  type PackDescription,
  packObjectName,
} from '../pack/pack-codec.ts';
import type { StoredPacks } from '../pack/stored-packs.ts';
import { getIfThere } from '../store-calls.ts';

/** Index objects read at once. */
const FETCHES_AT_ONCE = 8;

export interface IndexDamage {
  /** The index object. */
  readonly name: string;
  readonly error: CofferError;
}

/** Index objects that are not what their names promise, or that describe a pack as it is not. */
export async function checkIndexObjects(
  store: ObjectStore,
  stored: StoredPacks,
  signal?: AbortSignal,
): Promise<IndexDamage[]> {
  const names: string[] = [];
  for await (const { name } of store.list('index/', { signal })) {
    if (indexGenerationOf(name) !== undefined) names.push(name);
  }
  const damaged: IndexDamage[] = [];
  await mapBounded(names, FETCHES_AT_ONCE, async (name) => {
    signal?.throwIfAborted();
    try {
      await checkIndexObject(store, stored, name);
    } catch (error) {
      if (!isCofferError(error, 'object-damaged')) throw error;
      damaged.push({ name, error });
    }
  });
  return damaged;
}

async function checkIndexObject(
  store: ObjectStore,
  stored: StoredPacks,
  name: string,
): Promise<void> {
  const bytes = await getIfThere(store, name, INDEX_OBJECT_SIZE_BYTES_MAX);
  // A garbage collection may have replaced it meanwhile.
  if (!bytes) return;
  for (const description of decodeIndexObject({ name, bytes })) {
    const sizeBytes = stored.sizeOf(description.pack);
    if (sizeBytes === undefined || (await describes(store, description, sizeBytes))) continue;
    const pack = packObjectName(description.pack);
    throw new CofferError('object-damaged', {
      object: name,
      reason: `it does not describe ${pack} as that is`,
    });
  }
}

/** Where they differ, the pack's name decides which of both is right. */
async function describes(
  store: ObjectStore,
  description: PackDescription,
  sizeBytes: number,
): Promise<boolean> {
  const expected = encodePackEnd(description, description.sizeBytes);
  if (sizeBytes === description.sizeBytes && expected.length <= sizeBytes) {
    const end = await endOf(store, description.pack, sizeBytes, expected.length);
    if (end?.equals(expected) ?? true) return true;
  }
  return !(await isIntact(store, description.pack));
}

/** Undefined when the pack is gone, or was cut short, meanwhile. */
async function endOf(
  store: ObjectStore,
  pack: Buffer,
  sizeBytes: number,
  length: number,
): Promise<Buffer | undefined> {
  try {
    return await store.getRange(packObjectName(pack), { offset: sizeBytes - length, length });
  } catch (error) {
    const isGone =
      isCofferError(error, 'object-not-found') || isCofferError(error, 'range-invalid');
    if (isGone) return undefined;
    throw error;
  }
}

async function isIntact(store: ObjectStore, pack: Buffer): Promise<boolean> {
  try {
    const bytes = await getIfThere(store, packObjectName(pack), PACK_SIZE_BYTES_MAX);
    return bytes !== undefined && isPackIntact(bytes, pack);
  } catch (error) {
    if (isCofferError(error, 'object-damaged')) return false;
    throw error;
  }
}
