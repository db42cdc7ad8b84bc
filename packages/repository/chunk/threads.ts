/**
 * A pool of worker threads, up to one for each core, that all repositories and sessions of a process
 * share. One starts when there is work and all others have some: what is small is done before a
 * second one has loaded its code. A thread that died is replaced; what it held is lost, and told to
 * who asked for it.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { assert } from '@coffer/base';
import type { FinishedPack } from '../pack/pack-builder.ts';
import { decodePack } from '../pack/pack-codec.ts';
import type { ChunkPool, ChunkSealer, ChunkWork } from './chunk-work.ts';
import type { EngineKeys, SealerOptions } from './engine.ts';
import type { Slab } from './slab.ts';
import {
  asBuffer,
  type MovedPack,
  packOpenItems,
  type ThreadNotice,
  type ThreadRequest,
  type ThreadResult,
  toShared,
} from './thread-protocol.ts';

/** More threads than this wait for memory more than they compute. */
const THREADS_MAX = 16;

export function startChunkThreads(
  threadCount: number = Math.min(availableParallelism(), THREADS_MAX),
): ChunkPool {
  const pool = new ThreadPool(threadCount);
  return {
    work: (keys) => threadedWork(pool, keys),
    start: () => void pool.idlest(),
    close: () => pool.close(),
  };
}

class ThreadPool {
  readonly threadCount: number;
  #threads: ChunkThread[] = [];
  #numbers = 0;
  /** The thread that hashed a slab has it in its cache, so it seals it too. */
  readonly #lastThread = new WeakMap<Slab, ChunkThread>();

  constructor(threadCount: number) {
    this.threadCount = threadCount;
  }

  /** A new number for keys, or for a sealer. */
  nextNumber(): number {
    return ++this.#numbers;
  }

  idlest(): ChunkThread {
    this.#threads = this.#threads.filter(({ isDead }) => !isDead);
    const free = this.#threads.find(({ waiting }) => waiting === 0);
    if (free) return free;
    if (this.#threads.length === this.threadCount) return leastWaiting(this.#threads);
    const started = new ChunkThread();
    this.#threads.push(started);
    return started;
  }

  idlestFor(slab: Slab): ChunkThread {
    const thread = this.idlest();
    this.#lastThread.set(slab, thread);
    return thread;
  }

  lastOf(slab: Slab): ChunkThread {
    const last = this.#lastThread.get(slab);
    return last && !last.isDead ? last : this.idlest();
  }

  tell(notice: ThreadNotice): void {
    for (const thread of this.#threads) thread.tell(notice);
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()));
  }
}

/** Keys that threads are told when they first need them. */
interface NumberedKeys {
  readonly number: number;
  readonly secrets: EngineKeys;
}

function threadedWork(pool: ThreadPool, secrets: EngineKeys): ChunkWork {
  const keys = { number: pool.nextNumber(), secrets };
  const { number } = keys;
  return {
    slabsUseful: pool.threadCount * 3,
    identify: async ({ slab, spans }) => {
      const request = {
        type: 'identify',
        keys: number,
        slab: toShared(slab.bytes),
        spans,
      } as const;
      return asBuffer((await pool.idlestFor(slab).askWith(keys, request, 'ids')).ids);
    },
    cut: async ({ slab, span, last }) => {
      const shared = toShared(slab.bytes);
      const request = { type: 'cut', keys: number, slab: shared, span, last } as const;
      return [...(await pool.idlest().askWith(keys, request, 'lengths')).lengths];
    },
    open: async ({ source, target, items }) => {
      const request: ThreadRequest = {
        type: 'open',
        keys: number,
        source: toShared(source.bytes),
        target: toShared(target.bytes),
        items: packOpenItems(items),
      };
      return (await pool.idlest().askWith(keys, request, 'opened')).opened;
    },
    sealer: (options = {}) => threadedSealer(pool, keys, options),
    close: () => pool.tell({ type: 'forget-keys', keys: number }),
  };
}

function threadedSealer(pool: ThreadPool, keys: NumberedKeys, options: SealerOptions): ChunkSealer {
  const sealer = pool.nextNumber();
  const used = new Set<ChunkThread>();
  return {
    seal: async ({ slab, ...chunks }, onPack) => {
      const thread = pool.lastOf(slab);
      used.add(thread);
      const of = { keys: keys.number, sealer, options };
      const shared = toShared(slab.bytes);
      const request: ThreadRequest = { type: 'seal', ...of, slab: shared, ...chunks };
      for (const pack of (await thread.askWith(keys, request, 'packs')).packs) {
        onPack(toFinishedPack(pack), () => thread.recycle(sealer, pack.memory));
      }
    },
    // A thread that died took chunks with it that are not stored anywhere: asking it fails.
    finish: async () => {
      const answers = [...used].map((thread) => thread.ask({ type: 'finish', sealer }, 'packs'));
      return (await Promise.all(answers)).flatMap(({ packs }) => packs.map(toFinishedPack));
    },
    close: () => {
      for (const thread of used) thread.tell({ type: 'drop-sealer', sealer });
    },
  };
}

function leastWaiting(threads: readonly ChunkThread[]): ChunkThread {
  return threads.reduce((a, b) => (b.waiting < a.waiting ? b : a));
}

interface Waiting {
  resolve(result: ThreadResult): void;
  reject(error: unknown): void;
}

/** One worker; answers come in the order of the requests. */
class ChunkThread {
  readonly #worker: Worker;
  readonly #waiting: Waiting[] = [];
  readonly #ready = Promise.withResolvers<void>();
  /** Numbers of the keys that it was told. */
  readonly #known = new Set<number>();
  #failure: { readonly error: unknown } | undefined;

  constructor() {
    this.#worker = new Worker(new URL('./thread.ts', import.meta.url));
    this.#worker.unref();
    this.#worker.on('message', (result: ThreadResult) => {
      if (result.type === 'ready') this.#ready.resolve();
      else this.#waiting.shift()?.resolve(result);
    });
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', () => this.#fail(new Error('a chunk thread ended')));
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get isDead(): boolean {
    return this.#failure !== undefined;
  }

  /** Asks what needs keys. */
  async askWith<T extends ThreadResult['type']>(
    { number, secrets }: NumberedKeys,
    request: ThreadRequest,
    type: T,
  ): Promise<Extract<ThreadResult, { type: T }>> {
    if (!this.#known.has(number)) {
      this.#known.add(number);
      this.#worker.postMessage({
        type: 'learn-keys',
        keys: number,
        secrets,
      } satisfies ThreadNotice);
    }
    return await this.ask(request, type);
  }

  async ask<T extends ThreadResult['type']>(
    request: ThreadRequest,
    type: T,
  ): Promise<Extract<ThreadResult, { type: T }>> {
    if (this.#failure) throw this.#failure.error;
    const result = await new Promise<ThreadResult>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage(request);
    });
    if (this.#waiting.length === 0) this.#worker.unref();
    if (result.type === 'error') throw result.error;
    assert(result.type === type, 'a chunk thread answers what it was asked');
    return result as Extract<ThreadResult, { type: T }>;
  }

  recycle(sealer: number, memory: ArrayBuffer): void {
    this.#worker.postMessage({ type: 'recycle', sealer, memory } satisfies ThreadNotice, [memory]);
  }

  tell(notice: ThreadNotice): void {
    if (notice.type === 'forget-keys' && !this.#known.delete(notice.keys)) return;
    this.#worker.postMessage(notice);
  }

  async close(): Promise<void> {
    // A thread that is ended while it loads native code takes the process with it.
    this.#worker.ref();
    await this.#ready.promise;
    await this.#worker.terminate();
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#ready.resolve();
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

function toFinishedPack({ pack, offset, sizeBytes, memory }: MovedPack): FinishedPack {
  const bytes = Buffer.from(memory, offset, sizeBytes);
  const footer = decodePack(bytes, 'a pack of a chunk thread');
  return {
    pack: asBuffer(pack),
    sizeBytes,
    // The memory is used again when the pack is stored; its description lives longer.
    keyBoxes: footer.keyBoxes.map((box) => Buffer.from(box)),
    entries: footer.entries.map((entry) => ({ ...entry, id: Buffer.from(entry.id) })),
    bytes,
  };
}
