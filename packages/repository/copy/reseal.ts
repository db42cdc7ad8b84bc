/**
 * Seals a tree anew for another key domain. Bodies of nodes refer to their children by place, so
 * they stay as they are; only the ids of the children change.
 */
import { type ChunkId, idKey, isZeroId, kindOf } from '../chunk/chunk-id.ts';
import type { ChunkReader, ChunkRequest } from '../chunk/chunk-reader.ts';
import { missing } from '../chunk/record-reader.ts';
import { SLAB_SIZE_BYTES, SlabPool } from '../chunk/slab.ts';
import type { UnlockedRepository } from '../repository.ts';
import type { ChunkWriter } from '../session/chunk-writer.ts';

/** Data chunks of a node read and written at once. */
const SLABS_AT_ONCE = 4;

interface Wanted {
  readonly id: ChunkId;
  /** What it takes at most, in bytes. */
  readonly room: number;
  readonly targetOffset: number;
}

export interface ResealOptions {
  readonly source: UnlockedRepository;
  readonly writer: ChunkWriter;
  /** Told the bytes of each chunk that was sealed anew. */
  readonly onChunk: (bytes: number) => void;
}

/** Returns the root in the target. */
export async function resealTree(root: ChunkId, options: ResealOptions): Promise<ChunkId> {
  return await new Resealing(options).node(root);
}

class Resealing {
  readonly #options: ResealOptions;
  readonly #reader: ChunkReader;
  readonly #slabs = new SlabPool(SLABS_AT_ONCE);
  /** Nodes that are done: several places of a tree share them. */
  readonly #done = new Map<string, ChunkId>();

  constructor(options: ResealOptions) {
    this.#options = options;
    this.#reader = options.source.reader();
  }

  async node(id: ChunkId): Promise<ChunkId> {
    if (isZeroId(id)) return id;
    const known = this.#done.get(idKey(id));
    if (known) return known;
    const { children, body } = await this.#reader.readNode(id);
    const data = await this.#data(children);
    const resealed: ChunkId[] = [];
    for (const child of children) {
      resealed.push(data.get(idKey(child)) ?? (await this.node(child)));
    }
    const target = await this.#options.writer.writeNode(resealed, body);
    this.#done.set(idKey(id), target);
    return target;
  }

  /** Seals the data children of a node; old id to new one. */
  async #data(children: readonly ChunkId[]): Promise<Map<string, ChunkId>> {
    const { index } = this.#options.source;
    const resealed = new Map<string, ChunkId>();
    let window: Wanted[] = [];
    let used = 0;
    for (const id of children) {
      if (isZeroId(id)) continue;
      if (kindOf(id) === 'node') continue;
      // Which place is the true one is known once it is open.
      const lengths = index.places(id).map(({ plainLength }) => plainLength);
      if (lengths.length === 0) throw missing(id);
      const room = Math.max(...lengths);
      if (used + room > SLAB_SIZE_BYTES) {
        await this.#window(window, resealed);
        window = [];
        used = 0;
      }
      window.push({ id, room, targetOffset: used });
      used += room;
    }
    if (window.length > 0) await this.#window(window, resealed);
    return resealed;
  }

  async #window(window: readonly Wanted[], resealed: Map<string, ChunkId>): Promise<void> {
    const { source, writer, onChunk } = this.#options;
    await this.#slabs.use(async (slab) => {
      const spans = window.map(({ targetOffset, room }) => ({
        offset: targetOffset,
        length: room,
      }));
      const requests = window.map(({ id, room, targetOffset }, index): ChunkRequest => {
        // Of a padded chunk, the index tells only the class of its length.
        const onLength = (length: number): void => void (spans[index]!.length = length);
        return { id, length: room, targetOffset, onLength };
      });
      const [failure] = await this.#reader.readInto(slab, requests, source.work);
      if (failure) throw failure.error;
      const ids = await writer.write(slab, spans);
      window.forEach(({ id }, index) => {
        resealed.set(idKey(id), ids[index]!);
        onChunk(spans[index]!.length);
      });
    });
  }
}
