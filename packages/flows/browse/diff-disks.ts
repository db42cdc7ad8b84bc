/** Where two points of disks differ. Subtrees that are the same node are not read. */
import { CofferError, mapAhead } from '@coffer/base';
import {
  type ChunkId,
  diskChunkCount,
  diskTreeLevels,
  GEOMETRY,
  isZeroId,
  type NodeReader,
  ZERO_ID,
} from '@coffer/repository';

const { nodeFanOut: FAN_OUT, diskChunkSizeBytes: CHUNK_SIZE_BYTES } = GEOMETRY;
/** Pairs of leaf nodes fetched ahead. */
const LEAVES_AHEAD = 16;

export interface DiskTree {
  readonly root: ChunkId;
  readonly sizeBytes: number;
}

/** Bytes that differ, to the chunk. */
export interface DifferentRange {
  readonly offset: number;
  readonly length: number;
}

/** Ranges in order; neighbours are joined. What only one of the disks has differs. */
export async function* diffDisks(
  reader: NodeReader,
  before: DiskTree,
  after: DiskTree,
): AsyncGenerator<DifferentRange> {
  const sizeBytes = Math.min(before.sizeBytes, after.sizeBytes);
  const sizeBytesMax = Math.max(before.sizeBytes, after.sizeBytes);
  let open: { start: number; end: number } | undefined;
  for await (const chunkIndex of differentChunks(reader, before, after)) {
    const start = chunkIndex * CHUNK_SIZE_BYTES;
    const end = Math.min(start + CHUNK_SIZE_BYTES, sizeBytes);
    if (start >= sizeBytes) break;
    if (open?.end === start) open.end = end;
    else {
      if (open) yield toRange(open);
      open = { start, end };
    }
  }
  if (sizeBytesMax > sizeBytes) {
    if (open?.end === sizeBytes) open.end = sizeBytesMax;
    else {
      if (open) yield toRange(open);
      open = { start: sizeBytes, end: sizeBytesMax };
    }
  }
  if (open) yield toRange(open);
}

function toRange({ start, end }: { start: number; end: number }): DifferentRange {
  return { offset: start, length: end - start };
}

/** The subtrees of both disks at one place. Level 0 is a leaf. */
interface Place {
  readonly level: number;
  readonly firstChunkIndex: number;
  readonly before: Subtree;
  readonly after: Subtree;
}

interface Subtree {
  readonly id: ChunkId;
  /** Levels of nodes below and including the node; a shorter tree stands under taller ones. */
  readonly level: number;
  readonly chunkCount: number;
}

async function* differentChunks(
  reader: NodeReader,
  before: DiskTree,
  after: DiskTree,
): AsyncGenerator<number> {
  const [first, second] = [rootOf(before), rootOf(after)];
  const level = Math.max(first.level, second.level);
  const leaves = differentLeaves(reader, {
    level,
    firstChunkIndex: 0,
    before: first,
    after: second,
  });
  const compared = mapAhead(leaves, LEAVES_AHEAD, async (place) => ({
    place,
    children: await childrenOfBoth(reader, place),
  }));
  for await (const { place, children } of compared) {
    for (const [index, [one, other]] of children.entries()) {
      if (!one.id.equals(other.id)) yield place.firstChunkIndex + index;
    }
  }
}

async function* differentLeaves(reader: NodeReader, place: Place): AsyncGenerator<Place> {
  if (place.before.id.equals(place.after.id) && place.before.level === place.after.level) return;
  if (place.level === 0) {
    yield place;
    return;
  }
  const reach = FAN_OUT ** place.level;
  for (const [index, [before, after]] of (await childrenOfBoth(reader, place)).entries()) {
    yield* differentLeaves(reader, {
      level: place.level - 1,
      firstChunkIndex: place.firstChunkIndex + index * reach,
      before,
      after,
    });
  }
}

/** The children at the places that both have. */
async function childrenOfBoth(
  reader: NodeReader,
  { level, before, after }: Place,
): Promise<(readonly [Subtree, Subtree])[]> {
  const [first, second] = await Promise.all([
    childrenOf(reader, before, level),
    childrenOf(reader, after, level),
  ]);
  const both: (readonly [Subtree, Subtree])[] = [];
  for (const [index, one] of first.entries()) {
    const other = second[index];
    if (other) both.push([one, other]);
  }
  return both;
}

async function childrenOf(reader: NodeReader, subtree: Subtree, level: number): Promise<Subtree[]> {
  if (subtree.level < level) return [subtree];
  const reach = FAN_OUT ** level;
  const countExpected = Math.ceil(subtree.chunkCount / reach);
  const ids = isZeroId(subtree.id)
    ? Array.from({ length: countExpected }, () => ZERO_ID)
    : (await reader.readNode(subtree.id)).children;
  if (ids.length !== countExpected) throw wrongCount(subtree.id, ids.length, countExpected);
  return ids.map((id, index) => ({
    id,
    level: level - 1,
    chunkCount: Math.min(reach, subtree.chunkCount - index * reach),
  }));
}

function rootOf({ root, sizeBytes }: DiskTree): Subtree {
  return { id: root, level: diskTreeLevels(sizeBytes) - 1, chunkCount: diskChunkCount(sizeBytes) };
}

function wrongCount(id: ChunkId, found: number, expected: number): CofferError {
  return new CofferError('chunk-damaged', {
    chunk: id.toString('hex'),
    reason: `a disk node with ${found} children instead of ${expected}`,
  });
}
