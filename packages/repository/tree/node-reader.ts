/**
 * Who reads nodes. With the private key, all of them (`ChunkReader`); a writer without it reads those
 * that have an empty body, as nodes of disks do: the children stand in the clear, and the id tells
 * who has the hash key that they are the true ones.
 */
import { CofferError } from '@coffer/base';
import { ChunkHasher, type ChunkId } from '../chunk/chunk-id.ts';
import type { RecordReader } from '../chunk/record-reader.ts';
import { encodeNodeHead } from './node-codec.ts';

/** A node, opened. */
export interface Node {
  readonly children: readonly ChunkId[];
  readonly body: Buffer;
}

export interface NodeReader {
  /** Fails with `chunk-missing` or `chunk-damaged`. */
  readNode(id: ChunkId): Promise<Node>;
}

const EMPTY_BODY = Buffer.alloc(0);

export class BodilessNodes implements NodeReader {
  readonly #records: RecordReader;
  readonly #hasher: ChunkHasher;

  constructor(records: RecordReader, hashKey: Buffer) {
    this.#records = records;
    this.#hasher = new ChunkHasher(hashKey);
  }

  async readNode(id: ChunkId): Promise<Node> {
    const children = await this.#records.readChildren(id);
    const own = this.#hasher.node(encodeNodeHead(children), EMPTY_BODY);
    if (own.equals(id)) return { children, body: EMPTY_BODY };
    const reason = 'it has a body, which only who has the private key reads';
    throw new CofferError('chunk-damaged', { chunk: id.toString('hex'), reason });
  }
}
