/**
 * Chunk work in worker threads, up to one for each core. One starts when there is work and all others
 * have some: what is small is done before a second one has loaded its code.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { assert } from '@coffer/base';
import type { FinishedPack } from '../pack/pack-builder.ts';
import { decodePack } from '../pack/pack-codec.ts';
import type { ChunkWork } from './chunk-work.ts';
import type { EngineKeys } from './engine.ts';
import type { Slab } from './slab.ts';
import {
  asBuffer,
  type MovedPack,
  packOpenItems,
  type ThreadRequest,
  type ThreadResult,
  type ThreadStart,
  toShared,
} from './thread-protocol.ts';

/** More threads than this wait for memory more than they compute. */
const THREADS_MAX = 16;

export function threadedChunkWork(
  keys: EngineKeys,
  threadCount: number = Math.min(availableParallelism(), THREADS_MAX),
): ChunkWork {
  const threads: ChunkThread[] = [];
  // The thread that hashed a slab has it in its cache, so it seals it too.
  const lastThread = new WeakMap<Slab, ChunkThread>();
  const idlest = (): ChunkThread => {
    const free = threads.find(({ waiting }) => waiting === 0);
    if (free) return free;
    if (threads.length === threadCount) return leastWaiting(threads);
    const started = new ChunkThread(keys);
    threads.push(started);
    return started;
  };
  const threadOf = (slab: Slab): ChunkThread => lastThread.get(slab) ?? idlest();
  return {
    slabsUseful: threadCount * 3,
    identify: async ({ slab, spans }) => {
      const thread = idlest();
      lastThread.set(slab, thread);
      return asBuffer(
        (await thread.ask({ type: 'identify', slab: toShared(slab.bytes), spans }, 'ids')).ids,
      );
    },
    cut: async ({ slab, span, last }) => {
      const request: ThreadRequest = { type: 'cut', slab: toShared(slab.bytes), span, last };
      return [...(await idlest().ask(request, 'lengths')).lengths];
    },
    seal: async ({ slab, spans, ids }, onPack) => {
      const thread = threadOf(slab);
      const request: ThreadRequest = { type: 'seal', slab: toShared(slab.bytes), spans, ids };
      for (const pack of (await thread.ask(request, 'packs')).packs) {
        onPack(toFinishedPack(pack), () => thread.recycle(pack.memory));
      }
    },
    open: async ({ source, target, items }) => {
      const request: ThreadRequest = {
        type: 'open',
        source: toShared(source.bytes),
        target: toShared(target.bytes),
        items: packOpenItems(items),
      };
      return [...(await idlest().ask(request, 'failures')).failures];
    },
    finish: async () => {
      const answers = threads.map((thread) => thread.ask({ type: 'finish' }, 'packs'));
      return (await Promise.all(answers)).flatMap(({ packs }) => packs.map(toFinishedPack));
    },
    close: async () => {
      await Promise.all(threads.map((thread) => thread.close()));
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

  constructor(keys: EngineKeys) {
    const workerData: ThreadStart = keys;
    this.#worker = new Worker(new URL('./thread.ts', import.meta.url), { workerData });
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

  async ask<T extends ThreadResult['type']>(
    request: ThreadRequest,
    type: T,
  ): Promise<Extract<ThreadResult, { type: T }>> {
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

  recycle(memory: ArrayBuffer): void {
    const request: ThreadRequest = { type: 'recycle', memory };
    this.#worker.postMessage(request, [memory]);
  }

  async close(): Promise<void> {
    // A thread that is ended while it loads native code takes the process with it.
    this.#worker.ref();
    await this.#ready.promise;
    await this.#worker.terminate();
  }

  #fail(error: unknown): void {
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
