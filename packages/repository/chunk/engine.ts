/**
 * The arithmetic of chunks on whole slabs: cut, hash, seal into packs, open. It has no effects, so
 * the same code runs in worker threads and, for simulations and small work, in the caller's thread.
 * An engine knows keys and nothing of sessions; a sealer has the open pack of one session.
 */
import { CofferError, type Random } from '@coffer/base';
import { type FinishedPack, PackBuilder } from '../pack/pack-builder.ts';
import { KEY_BOX_PURPOSE } from '../pack/pack-codec.ts';
import { openBox } from '../sealed-box.ts';
import { CHUNK_ID_SIZE_BYTES, ChunkHasher, isZero, ZERO_ID } from './chunk-id.ts';
import type { Effort } from './compression.ts';
import { Cutter } from './cutter.ts';
import type { Padding } from './padding.ts';
import { openChunkInto, type Seal } from './seal.ts';
import type { Span } from './slab.ts';

export interface EngineKeys {
  readonly publicKey: Buffer;
  readonly hashKey: Buffer;
  /** Needed only to open what comes without the key of its pack. */
  readonly privateKey: Buffer | undefined;
}

/** One sealed chunk in a slab, and where its plain bytes belong in another. */
export interface OpenItem extends Seal {
  readonly record: Span;
  readonly keyBox: Buffer;
  /** The key in the box, where it is open already. */
  readonly packKey?: Buffer | undefined;
  readonly targetOffset: number;
  /** Of the plain bytes, where it is known; of a padded chunk, the seal tells a class only. */
  readonly exactLength?: number | undefined;
}

export interface OpenFailure {
  readonly itemIndex: number;
  readonly reason: string;
}

export interface Opened {
  readonly failures: readonly OpenFailure[];
  /** Of the plain bytes of each item; of one that failed, it has no meaning. */
  readonly lengths: readonly number[];
}

/** Opened pack keys kept at hand; opening one takes about 0.1 ms. */
const KEYS_CACHED_MAX = 4096;

export class ChunkEngine {
  readonly #hasher: ChunkHasher;
  readonly #cutter: Cutter;
  readonly #packKeys: PackKeys;

  constructor(keys: EngineKeys) {
    this.#hasher = new ChunkHasher(keys.hashKey);
    this.#cutter = new Cutter(keys.hashKey);
    this.#packKeys = new PackKeys(keys.privateKey);
  }

  /** The ids of the spans, one after the other; the zero id for a span of zeroes. */
  identify(bytes: Buffer, spans: readonly Span[]): Buffer {
    const ids = Buffer.alloc(spans.length * CHUNK_ID_SIZE_BYTES);
    spans.forEach(({ offset, length }, index) => {
      const plain = bytes.subarray(offset, offset + length);
      const id = isZero(plain) ? ZERO_ID : this.#hasher.data(plain);
      ids.set(id, index * CHUNK_ID_SIZE_BYTES);
    });
    return ids;
  }

  /** Lengths of the chunks that begin at `start`; what follows the last cut waits for more. */
  cut(bytes: Buffer, { offset, length }: Span, last: boolean): number[] {
    return this.#cutter.cut(bytes.subarray(offset, offset + length), last);
  }

  /** Opens data chunks from `source` into `target`; what cannot be opened is told, not thrown. */
  open(source: Buffer, target: Buffer, items: readonly OpenItem[]): Opened {
    const failures: OpenFailure[] = [];
    const lengths = items.map((item, itemIndex) => {
      const { offset, length } = item.record;
      try {
        const key = item.packKey ?? this.#packKeys.open(item.keyBox);
        const { targetOffset, exactLength } = item;
        const room = target.subarray(
          targetOffset,
          targetOffset + (exactLength ?? item.plainLength),
        );
        const opened = openChunkInto(key, item, source.subarray(offset, offset + length), room);
        if (exactLength !== undefined && opened !== exactLength) throw otherLength();
        if (!this.#hasher.data(room.subarray(0, opened)).equals(item.id)) throw wrongContent();
        return opened;
      } catch (error) {
        if (!(error instanceof CofferError)) throw error;
        failures.push({ itemIndex, reason: error.message });
        return 0;
      }
    });
    return { failures, lengths };
  }
}

/** How the packs of a session are made. */
export interface SealerOptions {
  readonly packSizeBytes?: number | undefined;
  readonly padding?: Padding | undefined;
}

/** Seals the chunks of one session into packs of its own. */
export class SlabSealer {
  readonly #builder: PackBuilder;

  constructor(publicKey: Buffer, random: Random, { packSizeBytes, padding }: SealerOptions) {
    this.#builder = new PackBuilder({ publicKey, random, sizeBytes: packSizeBytes, padding });
  }

  /** Seals the spans; returns the packs that became full. */
  seal(
    bytes: Buffer,
    spans: readonly Span[],
    { ids, effort }: { readonly ids: Buffer; readonly effort: Effort },
  ): FinishedPack[] {
    const packs: FinishedPack[] = [];
    spans.forEach(({ offset, length }, index) => {
      const id = ids.subarray(index * CHUNK_ID_SIZE_BYTES, (index + 1) * CHUNK_ID_SIZE_BYTES);
      const plain = bytes.subarray(offset, offset + length);
      this.#builder.add(id, 'data', plain, undefined, effort);
      if (this.#builder.isFull) packs.push(this.#builder.finish());
    });
    return packs;
  }

  /** The pack that is not full, if there is one. */
  finish(): FinishedPack | undefined {
    return this.#builder.isEmpty ? undefined : this.#builder.finish();
  }

  /** Takes back the memory of a pack that was stored. */
  recycle(memory: ArrayBuffer): void {
    this.#builder.recycle(memory);
  }
}

/** Opens the key boxes of packs, and remembers what it opened. */
export class PackKeys {
  readonly #privateKey: Buffer | undefined;
  readonly #opened = new Map<string, Buffer>();

  constructor(privateKey: Buffer | undefined) {
    this.#privateKey = privateKey;
  }

  /** Fails with `passphrase-missing` without a private key, `object-damaged` for a foreign box. */
  open(keyBox: Buffer): Buffer {
    if (this.#privateKey === undefined) throw new CofferError('passphrase-missing');
    const name = keyBox.toString('latin1');
    const known = this.#opened.get(name);
    if (known) return known;
    const key = openBox(this.#privateKey, keyBox, KEY_BOX_PURPOSE);
    if (this.#opened.size >= KEYS_CACHED_MAX) this.#opened.clear();
    this.#opened.set(name, key);
    return key;
  }
}

function otherLength(): CofferError {
  return new CofferError('chunk-damaged', { reason: 'its length is not what its tree says' });
}

function wrongContent(): CofferError {
  return new CofferError('chunk-damaged', { reason: 'its content has another id' });
}
