/**
 * Disks as trees: the chunks of a disk in order, 512 children a node, so that equal parts of two
 * disks are equal nodes. Subtrees of zeroes are the zero id. FORMAT.md, section 11.1.
 */
import { assert, CofferError, mapAhead } from '@coffer/base';
import { type ChunkId, isZeroId, ZERO_ID } from '../chunk/chunk-id.ts';
import { GEOMETRY } from '../config.ts';
import type { NodeReader } from './node-reader.ts';

const FAN_OUT = GEOMETRY.nodeFanOut;
const CHUNK_SIZE_BYTES = GEOMETRY.diskChunkSizeBytes;
const EMPTY_BODY = Buffer.alloc(0);
/** Leaf nodes fetched ahead of their use. */
const NODES_AHEAD = 16;

export type WriteNode = (children: readonly ChunkId[], body: Buffer) => Promise<ChunkId>;

export function diskChunkCount(sizeBytes: number): number {
  return Math.ceil(sizeBytes / CHUNK_SIZE_BYTES);
}

/** Levels of nodes over the chunks; at least one. */
export function diskTreeLevels(sizeBytes: number): number {
  let levels = 1;
  for (let reach = FAN_OUT; reach < diskChunkCount(sizeBytes); reach *= FAN_OUT) levels++;
  return levels;
}

/** Builds a tree from chunk ids in order, and holds no more than one open node a level. */
export class DiskTreeBuilder {
  readonly #writeNode: WriteNode;
  readonly #levels: ChunkId[][];

  constructor(sizeBytes: number, writeNode: WriteNode) {
    this.#writeNode = writeNode;
    this.#levels = Array.from({ length: diskTreeLevels(sizeBytes) }, () => []);
  }

  async add(id: ChunkId): Promise<void> {
    await this.#add(0, id);
  }

  /** Adds a run of zero chunks, of any length, in few steps. */
  async addZeroes(count: number): Promise<void> {
    await this.#addZeroes(0, count);
  }

  /** The root, once every chunk was added. */
  async finish(): Promise<ChunkId> {
    for (let level = 0; level < this.#levels.length - 1; level++) {
      if (this.#levels[level]!.length > 0) await this.#close(level);
    }
    return await this.#write(this.#levels.at(-1)!);
  }

  async #add(level: number, id: ChunkId): Promise<void> {
    const open = this.#levels[level]!;
    // Closing waits until the next child comes, so that the top level is not closed by its last.
    if (open.length === FAN_OUT) await this.#close(level);
    this.#levels[level]!.push(id);
  }

  async #addZeroes(level: number, count: number): Promise<void> {
    const isTop = level === this.#levels.length - 1;
    let left = count;
    while (left > 0) {
      if (this.#levels[level]!.length === FAN_OUT) await this.#close(level);
      const open = this.#levels[level]!;
      if (open.length === 0 && left >= FAN_OUT && !isTop) {
        // Whole nodes of zeroes are one zero id each, a level higher.
        await this.#addZeroes(level + 1, Math.floor(left / FAN_OUT));
        left %= FAN_OUT;
      } else {
        open.push(ZERO_ID);
        left--;
      }
    }
  }

  async #close(level: number): Promise<void> {
    assert(level + 1 < this.#levels.length, 'a disk has no more chunks than its size says');
    const children = this.#levels[level]!;
    this.#levels[level] = [];
    await this.#add(level + 1, await this.#write(children));
  }

  async #write(children: readonly ChunkId[]): Promise<ChunkId> {
    if (children.every(isZeroId)) return ZERO_ID;
    return await this.#writeNode(children, EMPTY_BODY);
  }
}

/** A run of chunks under one leaf node; without ids when all of them are zero. */
export interface DiskLeaf {
  readonly firstChunkIndex: number;
  readonly chunkCount: number;
  readonly ids: readonly ChunkId[] | undefined;
}

/** The leaves of a disk in order, fetched ahead. Zero subtrees are one leaf each. */
export async function* diskLeaves(
  reader: NodeReader,
  { root, sizeBytes }: { readonly root: ChunkId; readonly sizeBytes: number },
): AsyncGenerator<DiskLeaf> {
  const levels = diskTreeLevels(sizeBytes);
  const places = leafPlaces(reader, {
    id: root,
    level: levels - 1,
    firstChunkIndex: 0,
    chunkCount: diskChunkCount(sizeBytes),
  });
  yield* mapAhead(places, NODES_AHEAD, async ({ id, firstChunkIndex, chunkCount }) => {
    const ids = isZeroId(id) ? undefined : await readChildren(reader, id, chunkCount);
    return { firstChunkIndex, chunkCount, ids };
  });
}

interface Subtree {
  readonly id: ChunkId;
  /** 0 for a leaf. */
  readonly level: number;
  readonly firstChunkIndex: number;
  readonly chunkCount: number;
}

async function* leafPlaces(reader: NodeReader, subtree: Subtree): AsyncGenerator<Subtree> {
  if (subtree.level === 0 || isZeroId(subtree.id)) {
    if (subtree.chunkCount > 0) yield subtree;
    return;
  }
  const reach = FAN_OUT ** subtree.level;
  const childCount = Math.ceil(subtree.chunkCount / reach);
  const children = await readChildren(reader, subtree.id, childCount);
  for (const [index, id] of children.entries()) {
    yield* leafPlaces(reader, {
      id,
      level: subtree.level - 1,
      firstChunkIndex: subtree.firstChunkIndex + index * reach,
      chunkCount: Math.min(reach, subtree.chunkCount - index * reach),
    });
  }
}

export async function readChildren(
  reader: NodeReader,
  id: ChunkId,
  countExpected: number,
): Promise<readonly ChunkId[]> {
  const { children } = await reader.readNode(id);
  if (children.length !== countExpected) {
    throw new CofferError('chunk-damaged', {
      chunk: id.toString('hex'),
      reason: `a disk node with ${children.length} children instead of ${countExpected}`,
    });
  }
  return children;
}
