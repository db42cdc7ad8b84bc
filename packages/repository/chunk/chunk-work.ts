/**
 * Who does the arithmetic of chunks: the caller's thread, or a pool of worker threads that all
 * repositories of a process share.
 *
 * Invariant: what is sealed for one session is given to that session alone.
 */
import type { Random } from '@coffer/base';
import type { FinishedPack } from '../pack/pack-builder.ts';
import {
  ChunkEngine,
  type EngineKeys,
  type Opened,
  type OpenItem,
  type SealerOptions,
  SlabSealer,
} from './engine.ts';
import type { Effort } from './compression.ts';
import type { Slab, Span } from './slab.ts';

export interface IdentifyJob {
  readonly slab: Slab;
  readonly spans: readonly Span[];
}

export interface CutJob {
  readonly slab: Slab;
  readonly span: Span;
  /** Whether the file ends with the span. */
  readonly last: boolean;
}

export interface SealJob extends IdentifyJob {
  /** Ids of the spans, one after the other. */
  readonly ids: Buffer;
  /** How hard to compress. */
  readonly effort: Effort;
}

export interface OpenJob {
  readonly source: Slab;
  readonly target: Slab;
  readonly items: readonly OpenItem[];
}

/** One for a process. */
export interface ChunkPool {
  /** Work under these keys. */
  work(keys: EngineKeys): ChunkWork;
  /** Starts a thread ahead of its work, while the caller waits for something else. */
  start(): void;
  /** Ends the threads; what they were asked fails. Work that comes later starts new ones. */
  close(): Promise<void>;
}

/** The arithmetic of one repository, whose keys it knows. */
export interface ChunkWork {
  /** How many slabs keep all threads busy. */
  readonly slabsUseful: number;
  identify(job: IdentifyJob): Promise<Buffer>;
  cut(job: CutJob): Promise<number[]>;
  open(job: OpenJob): Promise<Opened>;
  /** For the packs of one session. */
  sealer(options?: SealerOptions): ChunkSealer;
  /** Forgets the keys. */
  close(): void;
}

/** The packs of one session. */
export interface ChunkSealer {
  /** Resolves when the slab can be used again; full packs go to `onPack`. */
  seal(job: SealJob, onPack: OnPack): Promise<void>;
  /** The packs that are not full yet. */
  finish(): Promise<FinishedPack[]>;
  /** Drops what is not finished: the session has ended. */
  close(): void;
}

/** Takes a full pack; `recycle` gives its memory back, once it is stored. */
export type OnPack = (pack: FinishedPack, recycle: () => void) => void;

/** All in the caller's thread: for simulations, tests and small work. */
export function inlineChunkPool(random: Random): ChunkPool {
  return {
    work: (keys) => inlineChunkWork(keys, random),
    start: () => {},
    close: async () => {},
  };
}

export function inlineChunkWork(keys: EngineKeys, random: Random): ChunkWork {
  const engine = new ChunkEngine(keys);
  return {
    slabsUseful: 2,
    identify: async ({ slab, spans }) => engine.identify(slab.bytes, spans),
    cut: async ({ slab, span, last }) => engine.cut(slab.bytes, span, last),
    open: async ({ source, target, items }) => engine.open(source.bytes, target.bytes, items),
    sealer: (options = {}) => inlineSealer(new SlabSealer(keys.publicKey, random, options)),
    close: () => {},
  };
}

function inlineSealer(sealer: SlabSealer): ChunkSealer {
  return {
    seal: async ({ slab, spans, ids, effort }, onPack) => {
      for (const pack of sealer.seal(slab.bytes, spans, { ids, effort })) {
        onPack(pack, () => sealer.recycle(pack.bytes.buffer as ArrayBuffer));
      }
    },
    finish: async () => {
      const pack = sealer.finish();
      return pack ? [pack] : [];
    },
    close: () => {},
  };
}
