/** Makes index objects anew from the footers of the packs. It needs no key. */
import {
  findingOf,
  isCofferError,
  mapBounded,
  type RunContext,
  tellDone,
  tellFinding,
  tellTotal,
} from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import {
  encodeIndexObject,
  INDEX_ENTRIES_MAX,
  INDEX_OBJECT_SIZE_BYTES_MAX,
} from '../index/index-codec.ts';
import {
  decodePackEnd,
  footerSizeBytes,
  PACK_END_BYTES_READ,
  type PackDescription,
  packObjectName,
  parsePackObjectName,
} from '../pack/pack-codec.ts';
import type { PackPlace } from '../pack/stored-packs.ts';
import { putIfAbsent } from '../store-calls.ts';

/** Footers read at once. */
const PACKS_AT_ONCE = 16;
/** Packs in one index object. */
const PACKS_PER_OBJECT = 256;
/** Of the footers in one; the footer of a single pack is always less. */
const OBJECT_SIZE_BYTES_MAX = INDEX_OBJECT_SIZE_BYTES_MAX / 2;

export interface RebuildOptions {
  readonly store: ObjectStore;
  /**
   * Packs (hexadecimal) that a garbage collection has condemned, and the generation before it: only
   * what is named there is taken out of the index when the packs are swept.
   */
  readonly condemned: { readonly packs: ReadonlySet<string>; readonly generation: number };
  /** Of the session that repairs. */
  readonly generation: number;
}

/** New objects are written first, then those that were there before are removed. */
export async function rebuildIndex(
  run: RunContext,
  { store, condemned, generation }: RebuildOptions,
): Promise<void> {
  const before: string[] = [];
  for await (const { name } of store.list('index/')) before.push(name);
  const packs = await listPacks(store);
  const isCondemned = ({ pack }: PackPlace): boolean => condemned.packs.has(pack.toString('hex'));
  const groups = [
    ...groupsOf(packs.filter(isCondemned)).map((group) => ({ group, in: condemned.generation })),
    ...groupsOf(packs.filter((pack) => !isCondemned(pack))).map((group) => ({
      group,
      in: generation,
    })),
  ];
  tellTotal(run, { items: packs.length });
  const written = new Set<string>();
  for (const { group, in: generationOfGroup } of groups) {
    run.signal.throwIfAborted();
    const described = (
      await mapBounded(group, PACKS_AT_ONCE, (pack) => describePack(run, store, pack))
    ).filter((pack) => pack !== undefined);
    for (const part of limitEntries(described)) {
      const { name, bytes } = encodeIndexObject(part, generationOfGroup);
      // One of that name may be there, and damaged.
      if (before.includes(name)) await store.delete(name);
      await putIfAbsent(store, name, bytes);
      written.add(name);
    }
    tellDone(run, { items: group.length });
  }
  for (const name of before) if (!written.has(name)) await store.delete(name);
}

async function listPacks(store: ObjectStore): Promise<PackPlace[]> {
  const packs: PackPlace[] = [];
  for await (const { name, sizeBytes } of store.list('packs/')) {
    const pack = parsePackObjectName(name);
    if (pack) packs.push({ pack, sizeBytes });
  }
  return packs;
}

function groupsOf<T>(packs: readonly T[]): T[][] {
  const groups: T[][] = [];
  for (let start = 0; start < packs.length; start += PACKS_PER_OBJECT) {
    groups.push(packs.slice(start, start + PACKS_PER_OBJECT));
  }
  return groups;
}

/** Packs of small files have many entries each, and those of moved chunks many key boxes. */
function* limitEntries(packs: readonly PackDescription[]): Generator<PackDescription[]> {
  let part: PackDescription[] = [];
  let [entryCount, sizeBytes] = [0, 0];
  for (const pack of packs) {
    entryCount += pack.entries.length;
    sizeBytes += footerSizeBytes(pack);
    const isFull = entryCount > INDEX_ENTRIES_MAX || sizeBytes > OBJECT_SIZE_BYTES_MAX;
    if (part.length > 0 && isFull) {
      yield part;
      part = [];
      [entryCount, sizeBytes] = [pack.entries.length, footerSizeBytes(pack)];
    }
    part.push(pack);
  }
  if (part.length > 0) yield part;
}

async function describePack(
  run: RunContext,
  store: ObjectStore,
  { pack, sizeBytes }: PackPlace,
): Promise<PackDescription | undefined> {
  const name = packObjectName(pack);
  try {
    const readEnd = async (length: number): Promise<Buffer> =>
      await store.getRange(name, { offset: sizeBytes - length, length });
    const footer = await decodePackEnd(readEnd, sizeBytes, name, PACK_END_BYTES_READ);
    return { pack, sizeBytes, ...footer };
  } catch (error) {
    if (!isCofferError(error, 'object-damaged')) throw error;
    tellFinding(run, findingOf(error, { kind: 'object', name }));
    return undefined;
  }
}
