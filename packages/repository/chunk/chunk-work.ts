/** Who does the arithmetic of chunks: the caller's thread, or several worker threads. */
import type { Random } from '@coffer/base';
import type { FinishedPack } from '../pack/pack-builder.ts';
import { ChunkEngine, type EngineKeys, type OpenFailure, type OpenItem } from './engine.ts';
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
}

export interface OpenJob {
  readonly source: Slab;
  readonly target: Slab;
  readonly items: readonly OpenItem[];
}

export interface ChunkWork {
  /** How many slabs keep all threads busy. */
  readonly slabsUseful: number;
  identify(job: IdentifyJob): Promise<Buffer>;
  cut(job: CutJob): Promise<number[]>;
  /** Resolves when the slab can be used again; full packs go to `onPack`. */
  seal(job: SealJob, onPack: OnPack): Promise<void>;
  open(job: OpenJob): Promise<OpenFailure[]>;
  /** The packs that are not full yet. */
  finish(): Promise<FinishedPack[]>;
  close(): Promise<void>;
}

/** Takes a full pack; `recycle` gives its memory back, once it is stored. */
export type OnPack = (pack: FinishedPack, recycle: () => void) => void;

/** All in the caller's thread: for simulations, tests and small work. */
export function inlineChunkWork(
  keys: EngineKeys,
  random: Random,
  packSizeBytes?: number,
): ChunkWork {
  const engine = new ChunkEngine(keys, random, packSizeBytes);
  return {
    slabsUseful: 2,
    identify: async ({ slab, spans }) => engine.identify(slab.bytes, spans),
    cut: async ({ slab, span, last }) => engine.cut(slab.bytes, span, last),
    seal: async ({ slab, spans, ids }, onPack) => {
      for (const pack of engine.seal(slab.bytes, spans, ids)) {
        onPack(pack, () => engine.recycle(pack.bytes.buffer as ArrayBuffer));
      }
    },
    open: async ({ source, target, items }) => engine.open(source.bytes, target.bytes, items),
    finish: async () => {
      const pack = engine.finish();
      return pack ? [pack] : [];
    },
    close: async () => {},
  };
}
