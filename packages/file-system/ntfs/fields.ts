/**
 * The fields of one structure of an NTFS volume. Every access is bounded by the structure, so that
 * what a hostile volume says can lead to an error only. Integers are little-endian.
 */
import { CofferError } from '@coffer/base';

export class Fields {
  readonly bytes: Buffer;
  /** What it is, for errors. */
  readonly structure: string;
  /** Where it is, in bytes from the start of the volume or of the stream that holds it. */
  readonly offset: number;

  constructor(bytes: Buffer, structure: string, offset: number) {
    this.bytes = bytes;
    this.structure = structure;
    this.offset = offset;
  }

  get length(): number {
    return this.bytes.length;
  }

  u8(at: number): number {
    return this.bytes.readUInt8(this.#bounded(at, 1));
  }

  u16(at: number): number {
    return this.bytes.readUInt16LE(this.#bounded(at, 2));
  }

  u32(at: number): number {
    return this.bytes.readUInt32LE(this.#bounded(at, 4));
  }

  u64(at: number): bigint {
    return this.bytes.readBigUInt64LE(this.#bounded(at, 8));
  }

  /** A count or size of 64 bits. No true one is over 2^53 - 1. */
  size64(at: number): number {
    const value = this.u64(at);
    if (value > Number.MAX_SAFE_INTEGER) throw this.damaged(`${value} at ${at} is too large`);
    return Number(value);
  }

  /** UTF-16, which need not be well formed. */
  text(at: number, lengthBytes: number): string {
    return this.part(at, lengthBytes).bytes.toString('utf16le');
  }

  /** A view of a part; it is no copy. */
  part(at: number, length = this.length - at, structure = this.structure): Fields {
    this.#bounded(at, length);
    return new Fields(this.bytes.subarray(at, at + length), structure, this.offset + at);
  }

  damaged(reason: string): CofferError {
    return damaged(this.structure, this.offset, reason);
  }

  #bounded(at: number, length: number): number {
    if (length < 0 || at < 0 || at + length > this.bytes.length) {
      throw this.damaged(`${length} bytes at ${at} are not in its ${this.bytes.length} bytes`);
    }
    return at;
  }
}

export function damaged(structure: string, offset: number, reason: string): CofferError {
  return new CofferError('file-system-damaged', {
    fileSystem: 'ntfs',
    structure,
    offset,
    reason,
  });
}

export function unsupported(reason: string, recordNumber?: number): CofferError {
  return new CofferError('file-system-unsupported', { fileSystem: 'ntfs', reason, recordNumber });
}
