/**
 * External Data Representation (RFC 4506), as far as libvirt uses it: big-endian, everything padded to
 * four bytes. The reader bounds every length and count before it is used.
 */
import { CofferError } from '@coffer/base';

/** No text is longer in libvirt's protocol. */
export const TEXT_BYTES_MAX = 4 * 1024 * 1024;

const UNIT_BYTES = 4;

/** Collects values; `finish` joins them. */
export class XdrWriter {
  readonly #pieces: Buffer[] = [];

  i32(value: number): this {
    const piece = Buffer.allocUnsafe(4);
    piece.writeInt32BE(value);
    return this.raw(piece);
  }

  u32(value: number): this {
    const piece = Buffer.allocUnsafe(4);
    piece.writeUInt32BE(value);
    return this.raw(piece);
  }

  /** Bytes of a size that both sides know and that is a multiple of four. */
  raw(bytes: Buffer): this {
    this.#pieces.push(bytes);
    return this;
  }

  /** Fails with `libvirt-failed` when the text is too long for the protocol. */
  text(value: string): this {
    const bytes = Buffer.from(value, 'utf8');
    if (bytes.length > TEXT_BYTES_MAX) {
      throw new CofferError('libvirt-failed', {
        reason: `a text of ${bytes.length} bytes is too long for libvirt`,
      });
    }
    return this.u32(bytes.length)
      .raw(bytes)
      .raw(Buffer.alloc(paddingOf(bytes.length)));
  }

  /** A value that may be absent (RFC 4506 4.19). */
  optional<T>(value: T | undefined, write: (value: T) => void): this {
    this.u32(value === undefined ? 0 : 1);
    if (value !== undefined) write(value);
    return this;
  }

  array<T>(values: readonly T[], write: (value: T) => void): this {
    this.u32(values.length);
    values.forEach(write);
    return this;
  }

  finish(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}

/** Reads values in order; whatever cannot be is `libvirt-failed`, with the structure and the offset. */
export class XdrReader {
  readonly #bytes: Buffer;
  readonly #structure: string;
  #offset = 0;

  constructor(bytes: Buffer, structure: string) {
    this.#bytes = bytes;
    this.#structure = structure;
  }

  i32(): number {
    return this.#bytes.readInt32BE(this.#advance(4));
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#advance(4));
  }

  /** A 64-bit integer; beyond 2^53 it loses its low bits, which no size or count here reaches. */
  i64(): number {
    return Number(this.#bytes.readBigInt64BE(this.#advance(8)));
  }

  /** As `i64`. */
  u64(): number {
    return Number(this.#bytes.readBigUInt64BE(this.#advance(8)));
  }

  double(): number {
    return this.#bytes.readDoubleBE(this.#advance(8));
  }

  /** Libvirt sends truth as an integer. */
  boolean(): boolean {
    return this.i32() !== 0;
  }

  /** A view of the next bytes; `sizeBytes` is a multiple of four. */
  raw(sizeBytes: number): Buffer {
    const start = this.#advance(sizeBytes);
    return this.#bytes.subarray(start, start + sizeBytes);
  }

  text(): string {
    const length = this.u32();
    if (length > TEXT_BYTES_MAX) throw this.damaged(`text of ${length} bytes`);
    return this.raw(length + paddingOf(length)).toString('utf8', 0, length);
  }

  optional<T>(read: () => T): T | undefined {
    const present = this.u32();
    if (present > 1) throw this.damaged(`${present} is neither present nor absent`);
    return present === 1 ? read() : undefined;
  }

  /** At most `countMax` values. Each takes at least four bytes, so that a count cannot lie. */
  array<T>(countMax: number, read: () => T): T[] {
    const count = this.u32();
    if (count > countMax || count * UNIT_BYTES > this.#bytes.length - this.#offset) {
      throw this.damaged(`count ${count} is impossible`);
    }
    return Array.from({ length: count }, read);
  }

  /** States that everything was read. */
  end(): void {
    const rest = this.#bytes.length - this.#offset;
    if (rest > 0) throw this.damaged(`${rest} bytes too many`);
  }

  damaged(reason: string): CofferError {
    const details = { structure: this.#structure, offset: this.#offset, reason };
    return new CofferError('libvirt-failed', details);
  }

  #advance(sizeBytes: number): number {
    const start = this.#offset;
    if (sizeBytes > this.#bytes.length - start) throw this.damaged('it ends too early');
    this.#offset = start + sizeBytes;
    return start;
  }
}

function paddingOf(length: number): number {
  return (UNIT_BYTES - (length % UNIT_BYTES)) % UNIT_BYTES;
}
