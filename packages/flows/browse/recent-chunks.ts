/** Chunks that were read alone, the most recently used of them. Equal chunks are kept once. */
import { CofferError, required } from '@coffer/base';
import { type ChunkId, type ChunkReader, idKey } from '@coffer/repository';

/** 64 MiB: about what a guest reads of its disk while it boots. */
const CHUNKS_KEPT = 256;

export class RecentChunks {
  readonly #reader: ChunkReader;
  readonly #chunks = new Map<string, Promise<Buffer>>();

  constructor(reader: ChunkReader) {
    this.#reader = reader;
  }

  /** Who asks for a chunk that is under way waits for it. */
  async chunk(id: ChunkId, length: number): Promise<Buffer> {
    const key = idKey(id);
    const chunk = this.#chunks.get(key) ?? this.#fetch(key, id);
    // The order of the map is the order of use.
    this.#chunks.delete(key);
    this.#chunks.set(key, chunk);
    const plain = await chunk;
    if (plain.length !== length) {
      const reason = 'its length is not what its tree says';
      throw new CofferError('chunk-damaged', { chunk: id.toString('hex'), reason });
    }
    return plain;
  }

  #fetch(key: string, id: ChunkId): Promise<Buffer> {
    const chunk = this.#reader.readData(id);
    chunk.catch(() => this.#chunks.delete(key));
    if (this.#chunks.size >= CHUNKS_KEPT) {
      this.#chunks.delete(required(this.#chunks.keys().next().value, 'a full map has a first'));
    }
    return chunk;
  }
}
