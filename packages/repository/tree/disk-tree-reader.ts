/**
 * Random access to the chunk ids of a disk. Nodes that were read are kept, so that the next look
 * at a place near by asks for nothing. FORMAT.md, section 11.1.
 */
import { required } from '@coffer/base';
import { type ChunkId, isZeroId, ZERO_ID } from '../chunk/chunk-id.ts';
import { GEOMETRY } from '../config.ts';
import { type DiskLeaf, diskChunkCount, diskTreeLevels, readChildren } from './disk-tree.ts';
import type { NodeReader } from './node-reader.ts';

const FAN_OUT = GEOMETRY.nodeFanOut;
/** Nodes of 512 ids, of which each leaf tells of 128 MiB of disk; about 10 MiB of memory. */
const NODES_KEPT = 256;

/** A node of the tree by its place: level 0 has the leaves. */
export interface NodePlace {
  readonly level: number;
  readonly index: number;
}

export class DiskTreeReader {
  readonly #reader: NodeReader;
  readonly #root: ChunkId;
  readonly #chunkCount: number;
  readonly topLevel: number;
  readonly #nodes = new Map<string, Promise<readonly ChunkId[]>>();

  constructor(reader: NodeReader, disk: { readonly root: ChunkId; readonly sizeBytes: number }) {
    this.#reader = reader;
    this.#root = disk.root;
    this.#chunkCount = diskChunkCount(disk.sizeBytes);
    this.topLevel = diskTreeLevels(disk.sizeBytes) - 1;
  }

  /** The id of one chunk. */
  async idAt(chunkIndex: number): Promise<ChunkId> {
    const leaf = await this.children({ level: 0, index: Math.floor(chunkIndex / FAN_OUT) });
    return leaf?.[chunkIndex % FAN_OUT] ?? ZERO_ID;
  }

  /** The chunks from the first to before the end, a leaf at a time; zero subtrees as a whole. */
  async *leaves(firstChunkIndex: number, endChunkIndex: number): AsyncGenerator<DiskLeaf> {
    const end = Math.min(endChunkIndex, this.#chunkCount);
    if (firstChunkIndex < end) {
      yield* this.#leavesUnder({ level: this.topLevel, index: 0 }, firstChunkIndex, end);
    }
  }

  async *#leavesUnder(place: NodePlace, first: number, end: number): AsyncGenerator<DiskLeaf> {
    const children = await this.children(place);
    const chunkCount = end - first;
    if (!children) {
      yield { firstChunkIndex: first, chunkCount, ids: undefined };
      return;
    }
    const reach = FAN_OUT ** place.level;
    const start = place.index * FAN_OUT * reach;
    if (place.level === 0) {
      const ids = children.slice(first - start, end - start);
      yield { firstChunkIndex: first, chunkCount, ids };
      return;
    }
    for (let chunk = first; chunk < end;) {
      const child = Math.floor((chunk - start) / reach);
      const childEnd = Math.min(start + (child + 1) * reach, end);
      const below = { level: place.level - 1, index: place.index * FAN_OUT + child };
      yield* this.#leavesUnder(below, chunk, childEnd);
      chunk = childEnd;
    }
  }

  /** The children of a node; undefined where all is zero. */
  async children(place: NodePlace): Promise<readonly ChunkId[] | undefined> {
    const id = await this.#idOf(place);
    if (isZeroId(id)) return undefined;
    const key = `${place.level}:${place.index}`;
    const known = this.#nodes.get(key);
    const node = known ?? this.#read(key, place, id);
    // The order of the map is the order of use.
    this.#nodes.delete(key);
    this.#nodes.set(key, node);
    return await node;
  }

  async #idOf({ level, index }: NodePlace): Promise<ChunkId> {
    if (level === this.topLevel) return this.#root;
    const parent = await this.children({ level: level + 1, index: Math.floor(index / FAN_OUT) });
    return parent?.[index % FAN_OUT] ?? ZERO_ID;
  }

  #read(key: string, { level, index }: NodePlace, id: ChunkId): Promise<readonly ChunkId[]> {
    const reach = FAN_OUT ** level;
    const chunkCount = Math.min(this.#chunkCount - index * FAN_OUT * reach, FAN_OUT * reach);
    const node = readChildren(this.#reader, id, Math.ceil(chunkCount / reach));
    // What failed is tried again by the next who asks.
    node.catch(() => this.#nodes.delete(key));
    if (this.#nodes.size >= NODES_KEPT) {
      this.#nodes.delete(required(this.#nodes.keys().next().value, 'a full map has a first'));
    }
    return node;
  }
}
