/**
 * Writes chunks that the repository does not have yet.
 *
 * Invariants: a pack is stored before an index object names it, and an index object is stored before
 * the local index knows its chunks. So whatever the index finds is durable, and a crash leaves
 * packs that nothing names.
 */
import { CofferError, type Random, TaskQueue } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import {
  CHUNK_ID_SIZE_BYTES,
  ChunkHasher,
  type ChunkId,
  idKey,
  isZeroId,
} from '../chunk/chunk-id.ts';
import type { ChunkWork } from '../chunk/chunk-work.ts';
import type { Slab, Span } from '../chunk/slab.ts';
import type { AcceptsPack, ChunkIndex } from '../index/chunk-index.ts';
import { encodeIndexObject, INDEX_ENTRIES_MAX } from '../index/index-codec.ts';
import type { WriterKeys } from '../keys.ts';
import { type FinishedPack, type MovedChunk, PackBuilder } from '../pack/pack-builder.ts';
import { type PackDescription, packObjectName } from '../pack/pack-codec.ts';
import { encodeNodeHead } from '../tree/node-codec.ts';

/** Packs on their way to the store at once; each is 24 MiB of memory. */
const UPLOADS_AT_ONCE = 4;
/** Nodes are few, and their pack is in memory for as long as a run takes. */
const NODE_PACK_BYTES = 12 * 1024 * 1024;
/** What threads leave over is joined to one pack when it is smaller than this. */
const JOINED_PACK_BYTES_MAX = 8 * 1024 * 1024;

export interface WriteStatistics {
  /** Plain bytes of chunks that were new. */
  bytesNew: number;
  /** Bytes given to the store: packs and index objects. */
  bytesStored: number;
  /** The part of it that packs of nodes are: what trees cost besides their data. */
  bytesStoredNodes: number;
  chunksNew: number;
  chunksReused: number;
}

export interface ChunkWriterOptions {
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  readonly keys: WriterKeys;
  readonly work: ChunkWork;
  readonly random: Random;
  /** The newest garbage collection that the writer knows of. */
  readonly generation: number;
  /** False for packs whose chunks count as absent. */
  readonly acceptsPack: AcceptsPack;
  readonly packSizeBytes?: number | undefined;
  /** What was stored is read again before anything refers to it. */
  readonly readsBack?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class ChunkWriter {
  readonly statistics: WriteStatistics = {
    bytesNew: 0,
    bytesStored: 0,
    bytesStoredNodes: 0,
    chunksNew: 0,
    chunksReused: 0,
  };
  readonly #options: ChunkWriterOptions;
  readonly #hasher: ChunkHasher;
  readonly #nodes: PackBuilder;
  /** Data chunks that are moved from other packs, and what the threads left over. */
  readonly #moved: PackBuilder;
  readonly #uploads = new TaskQueue(UPLOADS_AT_ONCE);
  /** Ids of chunks that are being written and that the index does not know yet. */
  readonly #pending = new Set<string>();
  /** Index objects that this writer wrote. */
  readonly #ownObjects = new Set<string>();
  #acceptsOwn: AcceptsPack;
  #stored: PackDescription[] = [];
  #storedEntries = 0;
  /** Resolves when every pack so far has found its place among the uploads. */
  #backPressure: Promise<void> = Promise.resolve();

  constructor(options: ChunkWriterOptions) {
    this.#options = options;
    this.#hasher = new ChunkHasher(options.keys.hashKey);
    this.#acceptsOwn = options.index.acceptor(this.#ownObjects);
    const { random, packSizeBytes: sizeBytes } = options;
    const builder = { publicKey: options.keys.publicKey, random, sizeBytes };
    this.#nodes = new PackBuilder({
      ...builder,
      sizeBytes: Math.min(sizeBytes ?? NODE_PACK_BYTES, NODE_PACK_BYTES),
    });
    this.#moved = new PackBuilder(builder);
  }

  /** True when a chunk is stored, and may be referred to. */
  isStored(id: ChunkId): boolean {
    const { index, acceptsPack } = this.#options;
    const accepts: AcceptsPack = (pack) => acceptsPack(pack) || this.#acceptsOwn(pack);
    return index.find(id, accepts) !== undefined;
  }

  /** Lengths of the chunks in a part of a slab; what follows the last cut waits for more. */
  async cut(slab: Slab, span: Span, last: boolean): Promise<number[]> {
    return await this.#options.work.cut({ slab, span, last });
  }

  /** Stores the spans of a slab as data chunks; returns their ids. The slab is free afterwards. */
  async write(slab: Slab, spans: readonly Span[]): Promise<ChunkId[]> {
    const { work, signal } = this.#options;
    const ids = await work.identify({ slab, spans });
    signal?.throwIfAborted();
    await this.#backPressure;
    const all: ChunkId[] = [];
    const unknown: number[] = [];
    for (let index = 0; index < spans.length; index++) {
      const id = ids.subarray(index * CHUNK_ID_SIZE_BYTES, (index + 1) * CHUNK_ID_SIZE_BYTES);
      all.push(id);
      if (!isZeroId(id) && this.#claim(id, spans[index]!.length)) unknown.push(index);
    }
    if (unknown.length > 0) {
      await work.seal(
        {
          slab,
          spans: unknown.map((index) => spans[index]!),
          ids: Buffer.concat(unknown.map((index) => all[index]!)),
        },
        (pack, recycle) => this.#upload(pack, recycle),
      );
    }
    return all;
  }

  /** Stores a node; returns its id. */
  async writeNode(children: readonly ChunkId[], body: Buffer): Promise<ChunkId> {
    await this.#backPressure;
    const head = encodeNodeHead(children);
    const id = this.#hasher.node(head, body);
    if (this.#claim(id, head.length + body.length)) {
      this.#nodes.add(id, 'node', body, head);
      if (this.#nodes.isFull) this.#uploadFrom(this.#nodes);
    }
    return id;
  }

  /** Stores a sealed chunk of another pack as it is, unless it is there already. */
  async move(chunk: MovedChunk): Promise<void> {
    await this.#backPressure;
    if (!this.#claim(chunk.entry.id, chunk.entry.plainLength)) return;
    const builder = chunk.entry.kind === 'node' ? this.#nodes : this.#moved;
    builder.move(chunk);
    if (builder.isFull) this.#uploadFrom(builder);
  }

  /**
   * Makes all that was written durable and known to the index. Fails with `object-damaged` when the
   * store gives something else back than it was given.
   */
  async flush(): Promise<void> {
    for (const pack of await this.#options.work.finish()) {
      if (pack.sizeBytes < JOINED_PACK_BYTES_MAX) this.#absorb(pack);
      else this.#upload(pack, () => {});
    }
    for (const builder of [this.#moved, this.#nodes]) {
      if (!builder.isEmpty) this.#uploadFrom(builder);
    }
    await this.#backPressure;
    await this.#uploads.drain();
    await this.#writeIndex();
  }

  /** True when the chunk has to be written, by the caller, who is the only one told so. */
  #claim(id: ChunkId, length: number): boolean {
    const key = idKey(id);
    if (this.#pending.has(key) || this.isStored(id)) {
      this.statistics.chunksReused++;
      return false;
    }
    this.#pending.add(key);
    this.statistics.chunksNew++;
    this.statistics.bytesNew += length;
    return true;
  }

  /** Joins what a thread left over to one pack, so that a small run makes few objects. */
  #absorb(pack: FinishedPack): void {
    for (const entry of pack.entries) {
      const record = pack.bytes.subarray(entry.offset, entry.offset + entry.length);
      this.#moved.move({ entry, keyBox: pack.keyBoxes[entry.keyIndex]!, record });
      if (this.#moved.isFull) this.#uploadFrom(this.#moved);
    }
  }

  #uploadFrom(builder: PackBuilder): void {
    const pack = builder.finish();
    this.#upload(pack, () => builder.recycle(pack.bytes.buffer as ArrayBuffer));
  }

  #upload(pack: FinishedPack, recycle: () => void): void {
    const { bytes, ...description } = pack;
    this.#backPressure = this.#backPressure.then(() =>
      this.#uploads.add(async () => {
        await this.#put(packObjectName(pack.pack), bytes);
        this.statistics.bytesStored += bytes.length;
        // Data and nodes are never in one pack.
        if (pack.entries[0]?.kind === 'node') this.statistics.bytesStoredNodes += bytes.length;
        recycle();
        this.#stored.push(description);
        this.#storedEntries += description.entries.length;
        if (this.#storedEntries >= INDEX_ENTRIES_MAX) await this.#writeIndex();
      }),
    );
    // The failure is thrown where the back-pressure is awaited.
    this.#backPressure.catch(() => {});
  }

  async #writeIndex(): Promise<void> {
    if (this.#stored.length === 0) return;
    const packs = this.#stored;
    this.#stored = [];
    this.#storedEntries = 0;
    const { index, generation } = this.#options;
    const { name, bytes } = encodeIndexObject(packs, generation);
    await this.#put(name, bytes);
    this.statistics.bytesStored += bytes.length;
    this.#ownObjects.add(name);
    this.#acceptsOwn = index.acceptor(this.#ownObjects);
    await index.add(name, packs);
    for (const pack of packs) for (const { id } of pack.entries) this.#pending.delete(idKey(id));
  }

  async #put(name: string, bytes: Buffer): Promise<void> {
    const { store, signal, readsBack } = this.#options;
    await store.put(name, bytes, { signal });
    if (!readsBack || bytes.equals(await store.get(name, undefined, { signal }))) return;
    throw new CofferError('object-damaged', {
      object: name,
      reason: 'the store gives back another',
    });
  }
}
