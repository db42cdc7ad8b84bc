/**
 * The tree of a disk that differs from an older one in some chunks. Only the nodes above those are
 * read and written; all others are shared, so the cost follows the change and not the disk.
 * FORMAT.md, section 11.1.
 */
import { assert } from '@coffer/base';
import { type ChunkId, isZeroId, ZERO_ID } from '../chunk/chunk-id.ts';
import { GEOMETRY } from '../config.ts';
import { diskChunkCount, diskTreeLevels, type WriteNode } from './disk-tree.ts';
import { DiskTreeReader, type NodePlace } from './disk-tree-reader.ts';
import type { NodeReader } from './node-reader.ts';

const FAN_OUT = GEOMETRY.nodeFanOut;
const EMPTY_BODY = Buffer.alloc(0);

/** The tree that is changed. */
export interface BaseDisk {
  readonly root: ChunkId;
  readonly sizeBytes: number;
}

interface OpenNode {
  readonly index: number;
  readonly children: ChunkId[];
}

export class DiskTreeUpdate {
  readonly #base: BaseDisk;
  readonly #reader: DiskTreeReader;
  readonly #writeNode: WriteNode;
  readonly #chunkCount: number;
  readonly #topLevel: number;
  /** The node of each level that is being changed. */
  readonly #open: (OpenNode | undefined)[] = [];
  #root: ChunkId;
  #next = 0;
  /** The last chunk of a smaller base: nodes above it have more children now. */
  #growsAt: number | undefined;

  /** The disk may be larger than the base, and not smaller; what it has more is zero. */
  constructor(reader: NodeReader, base: BaseDisk, sizeBytes: number, writeNode: WriteNode) {
    assert(sizeBytes >= base.sizeBytes, 'a smaller disk is no update of a larger one');
    this.#base = base;
    this.#reader = new DiskTreeReader(reader, base);
    this.#writeNode = writeNode;
    this.#chunkCount = diskChunkCount(sizeBytes);
    this.#topLevel = diskTreeLevels(sizeBytes) - 1;
    this.#root = base.root;
    const baseCount = diskChunkCount(base.sizeBytes);
    const isGrown = this.#chunkCount > baseCount && baseCount > 0 && !isZeroId(base.root);
    if (isGrown) this.#growsAt = baseCount - 1;
  }

  /** Says what a chunk is now; chunks come in order. */
  async set(chunkIndex: number, id: ChunkId): Promise<void> {
    assert(chunkIndex >= this.#next && chunkIndex < this.#chunkCount, 'chunks come in order');
    await this.#growBefore(chunkIndex);
    this.#next = chunkIndex + 1;
    await this.#set(0, chunkIndex, id);
  }

  /** The root, once every change was said. */
  async finish(): Promise<ChunkId> {
    await this.#growBefore(this.#chunkCount);
    for (let level = 0; level <= this.#topLevel; level++) await this.#close(level);
    return this.#root;
  }

  /** Gives the last nodes of a smaller base the children that they lack. */
  async #growBefore(chunkIndex: number): Promise<void> {
    const last = this.#growsAt;
    if (last === undefined || last > chunkIndex) return;
    this.#growsAt = undefined;
    await this.#node(0, Math.floor(last / FAN_OUT));
  }

  async #set(level: number, index: number, id: ChunkId): Promise<void> {
    const node = await this.#node(level, Math.floor(index / FAN_OUT));
    node.children[index % FAN_OUT] = id;
  }

  /** The node that is changed at a level; another one that was open there is written first. */
  async #node(level: number, index: number): Promise<OpenNode> {
    const open = this.#open[level];
    if (open?.index === index) return open;
    await this.#close(level);
    const node = { index, children: await this.#childrenOf({ level, index }) };
    this.#open[level] = node;
    return node;
  }

  async #close(level: number): Promise<void> {
    const node = this.#open[level];
    if (!node) return;
    this.#open[level] = undefined;
    const isZero = node.children.every(isZeroId);
    const id = isZero ? ZERO_ID : await this.#writeNode(node.children, EMPTY_BODY);
    if (level < this.#topLevel) await this.#set(level + 1, node.index, id);
    else this.#root = id;
  }

  /** As the base has them, with zeroes for what it does not have. */
  async #childrenOf(place: NodePlace): Promise<ChunkId[]> {
    const reach = FAN_OUT ** place.level;
    const chunksLeft = this.#chunkCount - place.index * FAN_OUT * reach;
    const count = Math.min(FAN_OUT, Math.ceil(chunksLeft / reach));
    const children = [...(await this.#baseChildren(place))];
    while (children.length < count) children.push(ZERO_ID);
    return children;
  }

  async #baseChildren({ level, index }: NodePlace): Promise<readonly ChunkId[]> {
    const { topLevel } = this.#reader;
    if (level <= topLevel) {
      const isInside = index * FAN_OUT ** (level + 1) < diskChunkCount(this.#base.sizeBytes);
      return isInside ? ((await this.#reader.children({ level, index })) ?? []) : [];
    }
    // Above the top of the base, all that it has is in the first child.
    return index === 0 && level === topLevel + 1 ? [this.#base.root] : [];
  }
}
