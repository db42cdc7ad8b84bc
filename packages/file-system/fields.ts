/**
 * The fields of the structures of a file system. Every access is bounded by the structure, so that
 * what a hostile volume says can lead to an error only.
 */
import { CofferError } from '@coffer/base';

/** What `Fields` of one file system are. */
export interface FieldsFormat {
  /** For errors. */
  readonly fileSystem: string;
  readonly byteOrder: 'little' | 'big';
}

/** Makes the class of the structures of a file system. */
export function fieldsOf({ fileSystem, byteOrder }: FieldsFormat) {
  const isLittle = byteOrder === 'little';

  return class Fields {
    readonly bytes: Buffer;
    /** What it is, for errors. */
    readonly structure: string;
    /** Where it is, in bytes: on the volume, or in the stream or fork that holds it. */
    readonly offset: number;
    readonly #view: DataView;

    constructor(bytes: Buffer, structure: string, offset: number) {
      this.bytes = bytes;
      this.structure = structure;
      this.offset = offset;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }

    get length(): number {
      return this.bytes.length;
    }

    u8(at: number): number {
      return this.#view.getUint8(this.#bounded(at, 1));
    }

    u16(at: number): number {
      return this.#view.getUint16(this.#bounded(at, 2), isLittle);
    }

    u32(at: number): number {
      return this.#view.getUint32(this.#bounded(at, 4), isLittle);
    }

    i32(at: number): number {
      return this.#view.getInt32(this.#bounded(at, 4), isLittle);
    }

    u64(at: number): bigint {
      return this.#view.getBigUint64(this.#bounded(at, 8), isLittle);
    }

    i64(at: number): bigint {
      return this.#view.getBigInt64(this.#bounded(at, 8), isLittle);
    }

    /** An address, count or size of 64 bits. No true one is over 2^53 - 1. */
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
      const { structure, offset } = this;
      return new CofferError('file-system-damaged', { fileSystem, structure, offset, reason });
    }

    #bounded(at: number, length: number): number {
      if (length < 0 || at < 0 || at + length > this.bytes.length) {
        throw this.damaged(`${length} bytes at ${at} are not in its ${this.bytes.length} bytes`);
      }
      return at;
    }
  };
}
