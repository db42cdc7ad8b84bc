/** What the main thread and the chunk threads say to each other. */
import { assert } from '@coffer/base';
import { KEY_BOX_SIZE_BYTES, PACK_KEY_SIZE_BYTES } from '../pack/pack-codec.ts';
import { CHUNK_ID_SIZE_BYTES } from './chunk-id.ts';
import type { Effort } from './compression.ts';
import type { Opened, OpenItem, SealerOptions } from './engine.ts';
import type { Span } from './slab.ts';

/** A slab, as another thread can see it. */
export interface SharedBytes {
  readonly memory: SharedArrayBuffer;
  readonly offset: number;
  readonly length: number;
}

export interface ThreadKeys {
  readonly publicKey: Uint8Array;
  readonly hashKey: Uint8Array;
  readonly privateKey: Uint8Array | undefined;
}

/** What is answered, in order. `keys` and `sealer` are numbers that the pool gave. */
export type ThreadRequest =
  | {
      readonly type: 'identify';
      readonly keys: number;
      readonly slab: SharedBytes;
      readonly spans: readonly Span[];
    }
  | {
      readonly type: 'cut';
      readonly keys: number;
      readonly slab: SharedBytes;
      readonly span: Span;
      readonly last: boolean;
    }
  | {
      readonly type: 'seal';
      readonly keys: number;
      readonly sealer: number;
      readonly options: SealerOptions;
      readonly slab: SharedBytes;
      readonly spans: readonly Span[];
      readonly ids: Uint8Array;
      readonly effort: Effort;
    }
  | {
      readonly type: 'open';
      readonly keys: number;
      readonly source: SharedBytes;
      readonly target: SharedBytes;
      readonly items: OpenItemsMessage;
    }
  | { readonly type: 'finish'; readonly sealer: number };

/** What is not answered. */
export type ThreadNotice =
  | { readonly type: 'learn-keys'; readonly keys: number; readonly secrets: ThreadKeys }
  | { readonly type: 'forget-keys'; readonly keys: number }
  | { readonly type: 'recycle'; readonly sealer: number; readonly memory: ArrayBuffer }
  | { readonly type: 'drop-sealer'; readonly sealer: number };

/** A finished pack on its way between threads: its memory is moved, not copied. */
export interface MovedPack {
  readonly pack: Uint8Array;
  /** Where the pack begins in the memory. */
  readonly offset: number;
  readonly sizeBytes: number;
  readonly memory: ArrayBuffer;
}

/** Items to open, as few flat arrays: a message copies every buffer that it refers to, whole. */
export interface OpenItemsMessage {
  readonly numbers: Uint32Array;
  readonly ids: Uint8Array;
  readonly keyBoxes: Uint8Array;
  /** The keys in these boxes; empty when they are still to be opened. */
  readonly packKeys: Uint8Array;
}

const NUMBERS_PER_ITEM = 8;
const FLAG_NODE = 1;
const FLAG_COMPRESSED = 2;
const FLAG_PADDED = 4;
const FLAG_EXACT = 8;

export function packOpenItems(items: readonly OpenItem[]): OpenItemsMessage {
  const numbers = new Uint32Array(items.length * NUMBERS_PER_ITEM);
  const ids = new Uint8Array(items.length * CHUNK_ID_SIZE_BYTES);
  const boxes = new Map<string, number>();
  const packKeys: Buffer[] = [];
  items.forEach((item, index) => {
    ids.set(item.id, index * CHUNK_ID_SIZE_BYTES);
    const box = item.keyBox.toString('latin1');
    const boxIndex = boxes.get(box) ?? boxes.size;
    if (item.packKey && !boxes.has(box)) packKeys.push(item.packKey);
    boxes.set(box, boxIndex);
    const { record, ordinal, plainLength, targetOffset, exactLength = 0 } = item;
    const lengths = [plainLength, exactLength];
    numbers.set(
      [record.offset, record.length, ordinal, flagsOf(item), boxIndex, targetOffset, ...lengths],
      index * NUMBERS_PER_ITEM,
    );
  });
  assert([0, boxes.size].includes(packKeys.length), 'all boxes are open, or none');
  const keyBoxes = Buffer.from([...boxes.keys()].join(''), 'latin1');
  return { numbers, ids, keyBoxes, packKeys: Buffer.concat(packKeys) };
}

function flagsOf({ kind, compressed, padded, exactLength }: OpenItem): number {
  return (
    (kind === 'node' ? FLAG_NODE : 0) |
    (compressed ? FLAG_COMPRESSED : 0) |
    (padded ? FLAG_PADDED : 0) |
    (exactLength === undefined ? 0 : FLAG_EXACT)
  );
}

export function unpackOpenItems(message: OpenItemsMessage): OpenItem[] {
  const { numbers } = message;
  const ids = asBuffer(message.ids);
  const keyBoxes = asBuffer(message.keyBoxes);
  const packKeys = asBuffer(message.packKeys);
  const items: OpenItem[] = [];
  for (let place = 0; place < numbers.length; place += NUMBERS_PER_ITEM) {
    const idOffset = (place / NUMBERS_PER_ITEM) * CHUNK_ID_SIZE_BYTES;
    const flags = numbers[place + 3]!;
    const box = numbers[place + 4]!;
    const boxOffset = box * KEY_BOX_SIZE_BYTES;
    const packKey = packKeys.subarray(box * PACK_KEY_SIZE_BYTES, (box + 1) * PACK_KEY_SIZE_BYTES);
    items.push({
      id: ids.subarray(idOffset, idOffset + CHUNK_ID_SIZE_BYTES),
      record: { offset: numbers[place]!, length: numbers[place + 1]! },
      ordinal: numbers[place + 2]!,
      kind: flags & FLAG_NODE ? 'node' : 'data',
      compressed: (flags & FLAG_COMPRESSED) !== 0,
      padded: (flags & FLAG_PADDED) !== 0,
      plainLength: numbers[place + 6]!,
      exactLength: flags & FLAG_EXACT ? numbers[place + 7]! : undefined,
      keyBox: keyBoxes.subarray(boxOffset, boxOffset + KEY_BOX_SIZE_BYTES),
      packKey: packKeys.length > 0 ? packKey : undefined,
      targetOffset: numbers[place + 5]!,
    });
  }
  return items;
}

export type ThreadResult =
  /** Comes once, when the thread has loaded its code. */
  | { readonly type: 'ready' }
  | { readonly type: 'ids'; readonly ids: Uint8Array }
  | { readonly type: 'lengths'; readonly lengths: readonly number[] }
  | { readonly type: 'packs'; readonly packs: readonly MovedPack[] }
  | { readonly type: 'opened'; readonly opened: Opened }
  | { readonly type: 'error'; readonly error: unknown };

/** Buffers arrive in another thread as plain byte arrays. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function toShared({ buffer, byteOffset, length }: Buffer): SharedBytes {
  assert(buffer instanceof SharedArrayBuffer, 'slabs are shared');
  return { memory: buffer, offset: byteOffset, length };
}

export function fromShared({ memory, offset, length }: SharedBytes): Buffer {
  return Buffer.from(memory, offset, length);
}
