/** Writes chunks that the repository does not have yet: data by slabs, and nodes. */
import {
  CHUNK_ID_SIZE_BYTES,
  ChunkHasher,
  type ChunkId,
  isZeroId,
  nodeId,
} from '../chunk/chunk-id.ts';
import { type Effort, nextEffort } from '../chunk/compression.ts';
import type { ChunkSealer, ChunkWork } from '../chunk/chunk-work.ts';
import type { Slab, Span } from '../chunk/slab.ts';
import type { FinishedPack } from '../pack/pack-builder.ts';
import { encodeNodeClear, encodeNodeHead } from '../tree/node-codec.ts';
import { PackWriter, type PackWriterOptions } from './pack-writer.ts';

/** What threads leave over is joined to one pack when it is smaller than this. */
const JOINED_PACK_BYTES_MAX = 8 * 1024 * 1024;

export interface ChunkWriterOptions extends PackWriterOptions {
  readonly hashKey: Buffer;
  readonly work: ChunkWork;
}

export class ChunkWriter extends PackWriter {
  readonly #work: ChunkWork;
  readonly #sealer: ChunkSealer;
  readonly #hasher: ChunkHasher;
  readonly #signal: AbortSignal;
  #effort: Effort = 0;

  constructor(options: ChunkWriterOptions) {
    super(options);
    this.#work = options.work;
    const { packSizeBytes, context } = options;
    this.#sealer = options.work.sealer({ packSizeBytes, padding: context.padding });
    this.#hasher = new ChunkHasher(options.hashKey);
    this.#signal = options.context.signal;
  }

  /** Lengths of the chunks in a part of a slab; what follows the last cut waits for more. */
  async cut(slab: Slab, span: Span, last: boolean): Promise<number[]> {
    return await this.#work.cut({ slab, span, last });
  }

  /** Stores the spans of a slab as data chunks; returns their ids. The slab is free afterwards. */
  async write(slab: Slab, spans: readonly Span[]): Promise<ChunkId[]> {
    const ids = await this.#work.identify({ slab, spans });
    this.#signal.throwIfAborted();
    const hasToWait = this.isStoreBehind;
    await this.backPressure();
    const all = spans.map((_span, index) =>
      ids.subarray(index * CHUNK_ID_SIZE_BYTES, (index + 1) * CHUNK_ID_SIZE_BYTES),
    );
    await this.lookFor(all);
    const unknown: number[] = [];
    for (const [index, id] of all.entries()) {
      if (!isZeroId(id) && this.claim(id, spans[index]!.length)) unknown.push(index);
    }
    if (unknown.length > 0) {
      await this.#sealer.seal(
        {
          slab,
          spans: unknown.map((index) => spans[index]!),
          ids: Buffer.concat(unknown.map((index) => all[index]!)),
          effort: (this.#effort = nextEffort(this.#effort, hasToWait)),
        },
        (pack, recycle) => this.upload(pack, recycle),
      );
    }
    return all;
  }

  /** Stores a node; returns its id. */
  async writeNode(children: readonly ChunkId[], body: Buffer): Promise<ChunkId> {
    await this.backPressure();
    const head = encodeNodeHead(children);
    const tag = this.#hasher.nodeTag(head, body);
    const id = nodeId(head, tag);
    await this.lookFor([id]);
    if (this.claim(id, head.length + body.length)) {
      this.nodes.add(id, 'node', body, encodeNodeClear(head, tag));
      if (this.nodes.isFull) this.uploadFrom(this.nodes);
    }
    return id;
  }

  override async flush(): Promise<void> {
    for (const pack of await this.#sealer.finish()) {
      if (pack.sizeBytes < JOINED_PACK_BYTES_MAX) this.#absorb(pack);
      else this.upload(pack, () => {});
    }
    await super.flush();
  }

  override async close(): Promise<void> {
    this.#sealer.close();
    await super.close();
  }

  /** Joins what a thread left over to one pack, so that a small run makes few objects. */
  #absorb(pack: FinishedPack): void {
    for (const entry of pack.entries) {
      const record = pack.bytes.subarray(entry.offset, entry.offset + entry.length);
      this.moved.move({ entry, keyBox: pack.keyBoxes[entry.keyIndex]!, record });
      if (this.moved.isFull) this.uploadFrom(this.moved);
    }
  }
}
