/** BLAKE3, plain for the names of objects and keyed for the ids of chunks. */
import { Blake3Hasher } from '@napi-rs/blake-hash';

export const DIGEST_SIZE_BYTES = 32;

/** Its memory is not on the heap, so one for each digest would pile up before they are collected. */
const shared = new Blake3Hasher();

/** Digest of the concatenation of `parts`. */
export function digest(...parts: readonly Uint8Array[]): Buffer {
  shared.reset();
  for (const part of parts) shared.update(asBuffer(part));
  return shared.digestBuffer();
}

/** A digest over bytes that arrive in pieces. */
export class Digest {
  readonly #hasher = new Blake3Hasher();

  update(bytes: Uint8Array): this {
    this.#hasher.update(asBuffer(bytes));
    return this;
  }

  finish(): Buffer {
    return this.#hasher.digestBuffer();
  }
}

/** A digest under a secret key; one instance serves many messages, since set-up costs 8 µs. */
export class KeyedDigest {
  readonly #hasher: Blake3Hasher;

  constructor(key: Uint8Array) {
    this.#hasher = Blake3Hasher.newKeyed(Buffer.from(key));
  }

  /** Digest of the concatenation of `parts`. */
  of(...parts: readonly Uint8Array[]): Buffer {
    this.#hasher.reset();
    for (const part of parts) this.#hasher.update(asBuffer(part));
    return this.#hasher.digestBuffer();
  }
}

/** A key for one purpose, derived from key material; `context` is a constant of the program. */
export function deriveKey(context: string, keyMaterial: Uint8Array): Buffer {
  return Blake3Hasher.deriveKey(context, asBuffer(keyMaterial));
}

/** The same memory as a Buffer, which is what the native code takes. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
