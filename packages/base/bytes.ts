/**
 * Reading and writing of binary structures. All integers are little-endian. The reader bounds every
 * length before it is used and reports what it was reading when the bytes ended.
 */
import { assert } from './assert.ts';
import { CofferError } from './errors.ts';

/** Appends values to a buffer that grows as needed. */
export class BinaryWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(capacityBytes = 1024) {
    this.#bytes = Buffer.allocUnsafe(capacityBytes);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    this.#reserve(1);
    this.#length = this.#bytes.writeUInt8(value, this.#length);
    return this;
  }

  u16(value: number): this {
    this.#reserve(2);
    this.#length = this.#bytes.writeUInt16LE(value, this.#length);
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
    return this;
  }

  /** An unsigned integer up to 2^53 - 1 as a variable-length quantity: 7 bits a byte, low first. */
  varint(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, 'a varint is a number that can be read');
    this.#reserve(8);
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
    return this;
  }

  /** A signed 64-bit integer. */
  i64(value: bigint): this {
    this.#reserve(8);
    this.#length = this.#bytes.writeBigInt64LE(value, this.#length);
    return this;
  }

  /** An unsigned 64-bit integer. */
  u64(value: bigint): this {
    this.#reserve(8);
    this.#length = this.#bytes.writeBigUInt64LE(value, this.#length);
    return this;
  }

  /** The bytes themselves; the reader has to know how many. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** A length as varint, then the bytes. */
  bytes(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes);
  }

  text(value: string): this {
    return this.bytes(Buffer.from(value, 'utf8'));
  }

  /** What was written; it stays valid until the writer is used again. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets what was written and keeps the memory. */
  reset(): this {
    this.#length = 0;
    return this;
  }

  #reserve(size: number): void {
    const needed = this.#length + size;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** Reads values in order; every read beyond the end is an `object-damaged` error naming `what`. */
export class BinaryReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #offset = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#advance(1));
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#advance(2));
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#advance(4));
  }

  i64(): bigint {
    return this.#bytes.readBigInt64LE(this.#advance(8));
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64LE(this.#advance(8));
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let index = 0; index < 8; index++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 0x80;
    }
    throw this.damaged('number too large');
  }

  /** A view of the next `size` bytes; it is not a copy. */
  raw(size: number): Buffer {
    const start = this.#advance(size);
    return this.#bytes.subarray(start, start + size);
  }

  bytes(sizeMax = Number.MAX_SAFE_INTEGER): Buffer {
    const size = this.varint();
    if (size > sizeMax) throw this.damaged(`length ${size} over the limit of ${sizeMax}`);
    return this.raw(size);
  }

  text(sizeMax = 65_536): string {
    return this.bytes(sizeMax).toString('utf8');
  }

  /** A count of things that take at least `sizeEachMin` bytes each, so that it cannot lie. */
  count(sizeEachMin: number): number {
    const count = this.varint();
    if (count * sizeEachMin > this.remaining) throw this.damaged(`count ${count} is impossible`);
    return count;
  }

  /** States that everything was read. */
  end(): void {
    if (this.remaining > 0) throw this.damaged(`${this.remaining} bytes too many`);
  }

  damaged(reason: string): CofferError {
    return new CofferError('object-damaged', { what: this.#what, offset: this.#offset, reason });
  }

  #advance(size: number): number {
    const start = this.#offset;
    if (size > this.remaining) throw this.damaged('it ends too early');
    this.#offset = start + size;
    return start;
  }
}
