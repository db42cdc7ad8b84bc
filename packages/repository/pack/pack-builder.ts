/**
 * Builds one pack after the other in memory: chunks are appended until the pack is large enough,
 * then it is finished and named by the BLAKE3 of its bytes. It has no effects.
 */
import { assert, digest, type Random } from '@coffer/base';
import { aligned, DIRECT_ALIGNMENT_BYTES } from '@coffer/base/libc.ts';
import type { ChunkId, ChunkKind } from '../chunk/chunk-id.ts';
import type { Padding } from '../chunk/padding.ts';
import type { Effort } from '../chunk/compression.ts';
import { sealChunk, sealedSizeMax } from '../chunk/seal.ts';
import { CHUNK_SIZE_BYTES_MAX } from '../config.ts';
import { sealBox } from '../sealed-box.ts';
import {
  encodePackEnd,
  KEY_BOX_PURPOSE,
  PACK_HEAD_SIZE_BYTES,
  PACK_KEY_SIZE_BYTES,
  PACK_MAGIC,
  PACK_SALT_SIZE_BYTES,
  type PackDescription,
  type PackEntry,
} from './pack-codec.ts';

/** A pack is finished when its chunks take as much: large enough that stores handle few objects. */
export const PACK_SIZE_BYTES = 24 * 1024 * 1024;
/**
 * And never holds more chunks than this: what is known of each is in memory while the pack is on its
 * way, and a pack of small files stays quick to read.
 */
export const PACK_ENTRIES_MAX = 8192;
const FOOTER_ROOM_BYTES = 1024 * 1024;
const KEY_BOXES_MAX = 65_535;

export interface FinishedPack extends PackDescription {
  /** The file. It is a view of a buffer that can be given back to the builder afterwards. */
  readonly bytes: Buffer;
}

/** A chunk as it lies in a pack, to be moved as it is. */
export interface MovedChunk {
  readonly entry: PackEntry;
  readonly keyBox: Buffer;
  readonly record: Buffer;
}

export interface PackBuilderOptions {
  readonly publicKey: Buffer;
  readonly random: Random;
  readonly sizeBytes?: number | undefined;
  /** Of the chunks that it seals; none unless it is said. */
  readonly padding?: Padding | undefined;
}

export class PackBuilder {
  readonly #publicKey: Buffer;
  readonly #random: Random;
  readonly #spare: ArrayBuffer[] = [];
  readonly #sizeBytes: number;
  readonly #padding: Padding;
  #bytes: Buffer | undefined;
  #length = 0;
  #ownKey: { readonly key: Buffer; readonly keyIndex: number } | undefined;
  #keyBoxes: Buffer[] = [];
  #keyIndexes = new Map<string, number>();
  #entries: PackEntry[] = [];

  constructor(options: PackBuilderOptions) {
    this.#publicKey = options.publicKey;
    this.#random = options.random;
    this.#sizeBytes = options.sizeBytes ?? PACK_SIZE_BYTES;
    this.#padding = options.padding ?? 'none';
  }

  get isFull(): boolean {
    return (
      this.#length >= this.#sizeBytes ||
      this.#entries.length >= PACK_ENTRIES_MAX ||
      this.#keyBoxes.length >= KEY_BOXES_MAX
    );
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** Looks through all of them: for chunks that may be there, which is rare. */
  has(id: ChunkId): boolean {
    return this.#entries.some((entry) => entry.id.equals(id));
  }

  /** Seals a chunk and appends it. `clear` is what of a node stands in clear. */
  add(id: ChunkId, kind: ChunkKind, plain: Buffer, clear?: Buffer, effort?: Effort): void {
    const { key, keyIndex } = (this.#ownKey ??= this.#newKey());
    const ordinal = this.#entries.length;
    const offset = this.#begin();
    if (clear) this.#append(clear);
    this.#reserve(sealedSizeMax(plain.length));
    const target = this.#bytes!.subarray(this.#length);
    const chunk = { id, kind, ordinal, plain };
    const { seal, length } = sealChunk(key, chunk, target, { padding: this.#padding, effort });
    this.#length += length;
    // Ids are views of larger buffers; entries outlive those.
    const ownId = Buffer.from(id);
    this.#entries.push({ ...seal, id: ownId, keyIndex, offset, length: this.#length - offset });
  }

  /** Appends a chunk of another pack as it is, with the box of its key. */
  move({ entry, keyBox, record }: MovedChunk): void {
    const keyIndex = this.#keyIndexOf(keyBox);
    const offset = this.#begin();
    this.#append(record);
    this.#entries.push({ ...entry, id: Buffer.from(entry.id), keyIndex, offset });
  }

  /** Ends the pack; the next `add` begins a new one. */
  finish(): FinishedPack {
    assert(!this.isEmpty, 'an empty pack is not finished');
    const footer = { keyBoxes: this.#keyBoxes, entries: this.#entries };
    this.#append(encodePackEnd(footer, this.#length));
    const bytes = this.#bytes!.subarray(0, this.#length);
    const pack = { ...footer, pack: digest(bytes), sizeBytes: bytes.length, bytes };
    this.#bytes = undefined;
    this.#length = 0;
    this.#ownKey = undefined;
    this.#keyBoxes = [];
    this.#keyIndexes = new Map();
    this.#entries = [];
    return pack;
  }

  /** Takes back the memory of a pack that was stored: fresh memory costs a page fault each 4 KiB. */
  recycle(memory: ArrayBuffer): void {
    this.#spare.push(memory);
  }

  #newKey(): { key: Buffer; keyIndex: number } {
    const key = this.#random.bytes(PACK_KEY_SIZE_BYTES);
    const box = sealBox({
      publicKey: this.#publicKey,
      content: key,
      associated: KEY_BOX_PURPOSE,
      random: this.#random,
    });
    return { key, keyIndex: this.#keyIndexOf(box) };
  }

  #keyIndexOf(keyBox: Buffer): number {
    const known = this.#keyIndexes.get(keyBox.toString('latin1'));
    if (known !== undefined) return known;
    const keyIndex = this.#keyBoxes.length;
    this.#keyBoxes.push(Buffer.from(keyBox));
    this.#keyIndexes.set(keyBox.toString('latin1'), keyIndex);
    return keyIndex;
  }

  /** Where the next record begins; the head is written before the first. */
  #begin(): number {
    if (this.#length > 0) return this.#length;
    this.#bytes ??= this.#takeMemory();
    PACK_MAGIC.copy(this.#bytes);
    this.#bytes.set(this.#random.bytes(PACK_SALT_SIZE_BYTES), PACK_MAGIC.length);
    this.#length = PACK_HEAD_SIZE_BYTES;
    return this.#length;
  }

  #append(part: Buffer): void {
    this.#reserve(part.length);
    this.#bytes!.set(part, this.#length);
    this.#length += part.length;
  }

  #takeMemory(): Buffer {
    const spare = this.#spare.pop();
    if (spare) return aligned(spare);
    // Room for the chunk that fills it and for the footer; what is not used is not touched either.
    return newMemory(this.#sizeBytes + CHUNK_SIZE_BYTES_MAX + FOOTER_ROOM_BYTES);
  }

  #reserve(size: number): void {
    const needed = this.#length + size;
    const bytes = this.#bytes!;
    if (needed <= bytes.length) return;
    const grown = newMemory(Math.max(needed, bytes.length * 2));
    bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** Aligned, so that a store can write it to a disk without a copy. */
function newMemory(sizeBytes: number): Buffer {
  return aligned(new ArrayBuffer(sizeBytes + DIRECT_ALIGNMENT_BYTES));
}
