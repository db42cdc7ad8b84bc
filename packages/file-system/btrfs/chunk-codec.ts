/** Chunks: which addresses of btrfs are where on the device (`struct btrfs_chunk`). */
import { type Fields, unsupported } from './fields.ts';
import { ITEM, type Key, KEY_BYTES, parseKey } from './key-codec.ts';

const CHUNK_BYTES = 48;
const STRIPE_BYTES = 32;
/** Profiles whose stripes are whole copies: RAID1, DUP, RAID1C3, RAID1C4. */
const COPIES = (1n << 4n) | (1n << 5n) | (1n << 9n) | (1n << 10n);
/** And those that spread over devices: RAID0, RAID10, RAID5, RAID6. */
const SPREAD = (1n << 3n) | (1n << 6n) | (1n << 7n) | (1n << 8n);

export interface Chunk {
  readonly address: number;
  readonly sizeBytes: number;
  /** Where its copies begin on this device; none when it cannot be read from it. */
  readonly copies: readonly number[];
}

export function parseChunk(key: Key, fields: Fields, deviceId: bigint): Chunk {
  const address = Number(key.offset);
  const sizeBytes = fields.size64(0);
  if (sizeBytes === 0 || !Number.isSafeInteger(address + sizeBytes)) {
    throw fields.damaged(`${sizeBytes} bytes at ${key.offset}`);
  }
  const profile = fields.u64(24);
  const stripeCount = fields.u16(44);
  const isSpread = (profile & SPREAD) !== 0n && stripeCount !== 1;
  const isOdd = stripeCount === 0 || (stripeCount > 1 && (profile & (COPIES | SPREAD)) === 0n);
  if (isOdd) throw fields.damaged(`${stripeCount} stripes`);
  const stripes = fields.part(CHUNK_BYTES, stripeCount * STRIPE_BYTES);
  const copies: number[] = [];
  for (let at = 0; at < stripes.length && !isSpread; at += STRIPE_BYTES) {
    if (stripes.u64(at) === deviceId) copies.push(stripes.size64(at + 8));
  }
  return { address, sizeBytes, copies };
}

/** The chunks in the superblock: each a key, and a chunk behind it. */
export function parseSystemChunks(fields: Fields, deviceId: bigint): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = 0; at < fields.length;) {
    const key = parseKey(fields, at);
    if (key.type !== ITEM.chunk) throw fields.damaged(`an item of type ${key.type}`);
    const body = fields.part(at + KEY_BYTES);
    chunks.push(parseChunk(key, body, deviceId));
    at += KEY_BYTES + CHUNK_BYTES + body.u16(44) * STRIPE_BYTES;
  }
  return chunks;
}

/** Finds the chunk of an address. */
export class ChunkMap {
  readonly #chunks: readonly Chunk[];

  constructor(chunks: readonly Chunk[]) {
    this.#chunks = [...chunks].sort((a, b) => a.address - b.address);
  }

  /** The part of `length` bytes that is in one chunk, and where its copies are on the device. */
  find(address: number, length: number): { copies: number[]; length: number } | undefined {
    const chunk = this.#at(address);
    if (!chunk) return undefined;
    if (chunk.copies.length === 0) throw unsupported('a chunk is on other devices', chunk.address);
    const within = address - chunk.address;
    const copies = chunk.copies.map((start) => start + within);
    return { copies, length: Math.min(length, chunk.sizeBytes - within) };
  }

  #at(address: number): Chunk | undefined {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#chunks[middle]!.address <= address) low = middle + 1;
      else high = middle;
    }
    const chunk = this.#chunks[low - 1];
    return chunk && address < chunk.address + chunk.sizeBytes ? chunk : undefined;
  }
}
