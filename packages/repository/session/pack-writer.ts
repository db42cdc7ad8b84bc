/**
 * Writes packs and the index objects that name them. By itself it moves sealed chunks of other packs,
 * which needs no key; a `ChunkWriter` also makes chunks.
 *
 * Invariants: a pack is stored before an index object names it, and an index object is stored before
 * the local index knows its chunks. So whatever the index finds is durable, and a crash leaves
 * packs that nothing names.
 */
import { CofferError, TaskQueue } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { type ChunkId, idKey } from '../chunk/chunk-id.ts';
import type { AcceptsPack, ChunkIndex, IndexedPack } from '../index/chunk-index.ts';
import { encodeIndexObject, INDEX_ENTRIES_MAX } from '../index/index-codec.ts';
import type { RepositoryContext } from '../context.ts';
import { type FinishedPack, type MovedChunk, PackBuilder } from '../pack/pack-builder.ts';
import { type PackDescription, packObjectName } from '../pack/pack-codec.ts';

/**
 * What is stored is named by an index object after so long, and after so many bytes of packs: what a
 * first backup of days has stored is found by the next one when it is interrupted.
 */
export const INDEX_INTERVAL_MS = 60_000;
export const INDEX_STORED_BYTES_MAX = 256 * 1024 * 1024;

/** Packs on their way to the store at once; each is 24 MiB of memory. */
const UPLOADS_AT_ONCE = 4;
/** Nodes are few, and their pack is in memory for as long as a run takes. */
const NODE_PACK_BYTES = 12 * 1024 * 1024;

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

export interface PackWriterOptions {
  readonly context: RepositoryContext;
  /** The newest garbage collection that the writer knows of. */
  readonly generation: number;
  /** False for packs whose chunks count as absent. */
  readonly acceptsPack: AcceptsPack;
  /** Where packs are looked for one by one: to be asked before chunks can be found stored. */
  readonly lookFor?: ((ids: readonly ChunkId[]) => Promise<void>) | undefined;
  readonly packSizeBytes?: number | undefined;
  /** What was stored is read again before anything refers to it. */
  readonly readsBack?: boolean | undefined;
}

/** What a writer has put into the store, and what it found there and did not write again. */
export interface Relied {
  /** Names of the index objects that it has put. */
  readonly objects: readonly string[];
  /** Those that it has put. */
  readonly packs: readonly ReliedPack[];
  /** Those in which it found chunks, by the number that they had then. */
  readonly found: ReadonlyMap<number, ReliedPack>;
}

export type ReliedPack = Pick<IndexedPack, 'pack' | 'sizeBytes'>;

export class PackWriter {
  readonly statistics: WriteStatistics = {
    bytesNew: 0,
    bytesStored: 0,
    bytesStoredNodes: 0,
    chunksNew: 0,
    chunksReused: 0,
  };
  protected readonly nodes: PackBuilder;
  /** Data chunks that are moved from other packs, and what threads leave over. */
  protected readonly moved: PackBuilder;
  readonly #options: PackWriterOptions;
  readonly #store: ObjectStore;
  readonly #index: ChunkIndex;
  readonly #uploads = new TaskQueue(UPLOADS_AT_ONCE);
  /** Ids of chunks that are being written and that the index does not know yet. */
  readonly #pending = new Set<string>();
  /** Index objects that this writer wrote. */
  readonly #ownObjects = new Set<string>();
  readonly #ownPacks: ReliedPack[] = [];
  /** Packs of others in which chunks were found, by their numbers. */
  readonly #found = new Map<number, ReliedPack>();
  #acceptsOwn: AcceptsPack;
  #stored: PackDescription[] = [];
  #storedEntries = 0;
  #storedBytes = 0;
  readonly #closing = new AbortController();
  /** Writes an index object when it is time. */
  #indexing: Promise<void> = Promise.resolve();
  #isIndexing = false;
  /** Packs that have not found their place among the uploads. */
  #packsWaiting = 0;
  /** Resolves when every pack so far has found its place among the uploads. */
  #backPressure: Promise<void> = Promise.resolve();

  constructor(options: PackWriterOptions) {
    this.#options = options;
    const { store, index, random, publicKey, padding } = options.context;
    this.#store = store;
    this.#index = index;
    this.#acceptsOwn = index.acceptor(this.#ownObjects);
    const { packSizeBytes: sizeBytes } = options;
    this.nodes = new PackBuilder({
      publicKey,
      random,
      padding,
      sizeBytes: Math.min(sizeBytes ?? NODE_PACK_BYTES, NODE_PACK_BYTES),
    });
    this.moved = new PackBuilder({ publicKey, random, sizeBytes });
  }

  /** True when a chunk is stored, and may be referred to. */
  isStored(id: ChunkId): boolean {
    const { acceptsPack } = this.#options;
    const accepts: AcceptsPack = (pack) => acceptsPack(pack) || this.#acceptsOwn(pack);
    const location = this.#index.find(id, accepts);
    if (location) this.#relyOn(location.packNumber);
    return location !== undefined;
  }

  /** What has to be in the store still when something is made of it. */
  get relied(): Relied {
    return { objects: [...this.#ownObjects], packs: this.#ownPacks, found: this.#found };
  }

  /** Stores a sealed chunk of another pack as it is, unless it is there already. */
  async move(chunk: MovedChunk): Promise<void> {
    await this.backPressure();
    if (this.claim(chunk.entry.id, chunk.entry.plainLength))
      this.#append(chunk, this.#builderOf(chunk));
  }

  /** Stores a sealed chunk of another pack as it is, though one of its id is there. */
  async moveBeside(chunk: MovedChunk): Promise<void> {
    await this.backPressure();
    const builder = this.#builderOf(chunk);
    // A pack names a chunk once.
    if (builder.has(chunk.entry.id)) this.uploadFrom(builder);
    this.#append(chunk, builder);
  }

  /**
   * Makes all that was written durable and known to the index. Fails with `object-damaged` when the
   * store gives something else back than it was given.
   */
  async flush(): Promise<void> {
    for (const builder of [this.moved, this.nodes]) {
      if (!builder.isEmpty) this.uploadFrom(builder);
    }
    await this.backPressure();
    await this.#uploads.drain();
    await this.#writeIndex();
  }

  /** Waits for what was begun, and begins nothing more. What is not flushed is garbage. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#indexing;
    await this.#backPressure.catch(() => {});
    await this.#uploads[Symbol.asyncDispose]();
  }

  protected async lookFor(ids: readonly ChunkId[]): Promise<void> {
    await this.#options.lookFor?.(ids);
  }

  /** True when packs are made faster than the store takes them. */
  protected get isStoreBehind(): boolean {
    return this.#packsWaiting > 0;
  }

  protected async backPressure(): Promise<void> {
    await this.#backPressure;
  }

  /** True when the chunk has to be written, by the caller, who is the only one told so. */
  protected claim(id: ChunkId, length: number): boolean {
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

  protected uploadFrom(builder: PackBuilder): void {
    const pack = builder.finish();
    this.upload(pack, () => builder.recycle(pack.bytes.buffer as ArrayBuffer));
  }

  protected upload(pack: FinishedPack, recycle: () => void): void {
    const { bytes, ...description } = pack;
    this.#packsWaiting++;
    this.#backPressure = this.#backPressure.then(() =>
      this.#uploads.add(async () => {
        this.#packsWaiting--;
        await this.#put(packObjectName(pack.pack), bytes);
        this.statistics.bytesStored += bytes.length;
        // Data and nodes are never in one pack.
        if (pack.entries[0]?.kind === 'node') this.statistics.bytesStoredNodes += bytes.length;
        recycle();
        this.#ownPacks.push({ pack: description.pack, sizeBytes: description.sizeBytes });
        this.#stored.push(description);
        this.#storedEntries += description.entries.length;
        this.#storedBytes += bytes.length;
        if (this.#isIndexDue) await this.#writeIndex();
        else this.#writeIndexInTime();
      }),
    );
    // The failure is thrown where the back-pressure is awaited.
    this.#backPressure.catch(() => {});
  }

  /** Looked up at once: later another process may have given the pack another number. */
  #relyOn(packNumber: number): void {
    if (this.#found.has(packNumber) || this.#acceptsOwn(packNumber)) return;
    const { pack, sizeBytes } = this.#index.requiredPack(packNumber);
    this.#found.set(packNumber, { pack, sizeBytes });
  }

  #builderOf({ entry }: MovedChunk): PackBuilder {
    return entry.kind === 'node' ? this.nodes : this.moved;
  }

  #append(chunk: MovedChunk, builder: PackBuilder): void {
    builder.move(chunk);
    if (builder.isFull) this.uploadFrom(builder);
  }

  get #isIndexDue(): boolean {
    return this.#storedEntries >= INDEX_ENTRIES_MAX || this.#storedBytes >= INDEX_STORED_BYTES_MAX;
  }

  #writeIndexInTime(): void {
    if (this.#isIndexing) return;
    this.#isIndexing = true;
    this.#indexing = this.#waitAndWriteIndex().finally(() => (this.#isIndexing = false));
  }

  async #waitAndWriteIndex(): Promise<void> {
    const { clock, signal } = this.#options.context;
    const ended = AbortSignal.any([signal, this.#closing.signal]);
    try {
      await clock.sleep(INDEX_INTERVAL_MS, ended);
      // Among the uploads: who waits for these is told when it fails.
      await this.#uploads.add(() => this.#writeIndex());
    } catch {
      // It was closed, or an upload has failed, which is told there.
    }
  }

  async #writeIndex(): Promise<void> {
    if (this.#stored.length === 0) return;
    const packs = this.#stored;
    this.#stored = [];
    this.#storedEntries = 0;
    this.#storedBytes = 0;
    const { name, bytes } = encodeIndexObject(packs, this.#options.generation);
    await this.#put(name, bytes);
    this.statistics.bytesStored += bytes.length;
    this.#ownObjects.add(name);
    this.#acceptsOwn = this.#index.acceptor(this.#ownObjects);
    await this.#index.add(name, packs);
    for (const pack of packs) for (const { id } of pack.entries) this.#pending.delete(idKey(id));
  }

  async #put(name: string, bytes: Buffer): Promise<void> {
    const { readsBack, context } = this.#options;
    const { signal } = context;
    await this.#store.put(name, bytes, { signal });
    if (!readsBack) return;
    if (bytes.equals(await this.#store.get(name, { sizeBytesMax: bytes.length, signal }))) return;
    throw new CofferError('object-damaged', {
      object: name,
      reason: 'the store gives back another',
    });
  }
}
