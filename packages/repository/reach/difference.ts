/**
 * What a tree holds that another one does not, found by walking both and skipping equal nodes: the
 * cost follows the change, not the size. It needs no key.
 */
import { mapBounded } from '@coffer/base';
import { type ChunkId, idKey, isZeroId, kindOf } from '../chunk/chunk-id.ts';
import type { RecordReader } from '../chunk/record-reader.ts';
import type { ChunkIndex } from '../index/chunk-index.ts';
import type { Location } from '../index/location.ts';

/** Nodes read at once. */
const NODES_AT_ONCE = 16;

export interface DifferenceOptions {
  readonly index: ChunkIndex;
  readonly records: RecordReader;
  readonly signal?: AbortSignal | undefined;
}

/** A chunk of the tree; without a place when it is not stored. */
export interface FoundChunk {
  readonly id: ChunkId;
  readonly places: readonly Location[];
}

/**
 * The chunks and nodes that `roots` reach and `baseRoots` do not, level by level. A chunk that the
 * base reaches at another level may be found all the same.
 */
export async function* chunksOnlyIn(
  roots: readonly ChunkId[],
  baseRoots: readonly ChunkId[],
  { index, records, signal }: DifferenceOptions,
): AsyncGenerator<FoundChunk> {
  const seen = new Set<string>();
  let level = distinct(roots, seen);
  let base = distinct(baseRoots, new Set());
  while (level.length > 0) {
    signal?.throwIfAborted();
    const baseKeys = new Set(base.map(idKey));
    const onlyHere = level.filter((id) => !baseKeys.has(idKey(id)));
    const hereKeys = new Set(level.map(idKey));
    const onlyBase = base.filter((id) => !hereKeys.has(idKey(id)));
    const found = onlyHere.map((id) => ({ id, places: index.places(id) }));
    yield* found;
    level = distinct(await childrenOf(onlyHere, { index, records }), seen);
    base = distinct(await childrenOf(onlyBase, { index, records }), new Set());
  }
}

/** Of the nodes among them that are stored. */
async function childrenOf(
  ids: readonly ChunkId[],
  { index, records }: DifferenceOptions,
): Promise<ChunkId[]> {
  const nodes = ids.filter((id) => kindOf(id) === 'node' && index.find(id) !== undefined);
  const lists = await mapBounded(nodes, NODES_AT_ONCE, (id) => records.readChildren(id));
  return lists.flat();
}

/** Those that were not seen yet, as copies: the originals are views of large blocks. */
function distinct(ids: readonly ChunkId[], seen: Set<string>): ChunkId[] {
  const fresh: ChunkId[] = [];
  for (const id of ids) {
    const key = idKey(id);
    if (isZeroId(id) || seen.has(key)) continue;
    seen.add(key);
    fresh.push(Buffer.from(id));
  }
  return fresh;
}
