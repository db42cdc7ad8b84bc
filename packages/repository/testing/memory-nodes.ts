/** Nodes in memory, for tests of trees that need neither packs nor keys. */
import { CofferError } from '@coffer/base';
import { ChunkHasher, type ChunkId, idKey } from '../chunk/chunk-id.ts';
import type { ChunkReader } from '../chunk/chunk-reader.ts';
import type { Node } from '../tree/node-reader.ts';
import { encodeNodeHead } from '../tree/node-codec.ts';
import type { WriteNode } from '../tree/disk-tree.ts';

export class MemoryNodes {
  readonly #hasher = new ChunkHasher(Buffer.alloc(32, 1));
  readonly #nodes = new Map<string, Node>();

  get count(): number {
    return this.#nodes.size;
  }

  readonly write: WriteNode = async (children, body) => {
    // Bodies and ids are views of memory that is used again.
    const node = { children: children.map((id) => Buffer.from(id)), body: Buffer.from(body) };
    const id = this.#hasher.node(encodeNodeHead(children), body);
    this.#nodes.set(idKey(id), node);
    return id;
  };

  has(id: ChunkId): boolean {
    return this.#nodes.has(idKey(id));
  }

  keys(): string[] {
    return [...this.#nodes.keys()];
  }

  /** As far as trees use one. */
  get reader(): ChunkReader {
    const readNode = async (id: ChunkId): Promise<Node> => {
      const node = this.#nodes.get(idKey(id));
      if (!node) throw new CofferError('chunk-missing', { chunk: id.toString('hex') });
      return node;
    };
    return { readNode } as unknown as ChunkReader;
  }
}

/** An id that stands for data. */
export function dataId(index: number): ChunkId {
  const id = Buffer.alloc(32, 0xdd);
  id.writeUInt32LE(Math.imul(index + 1, 0x9e3779b1) >>> 0, 0);
  id.writeUInt32LE(index, 4);
  return id;
}
