/**
 * AES-256-GCM of the OpenSSL that the Node runtime carries, called without the streams of
 * `node:crypto`: results go where the caller wants them, so that sealing leaves no garbage of the
 * size of its data. Used for chunks, of which there are many; all else uses `node:crypto`.
 */
import koffi from 'koffi';
import { assert } from './assert.ts';

const GCM_KEY_SIZE_BYTES = 32;
export const GCM_NONCE_SIZE_BYTES = 12;
export const GCM_TAG_SIZE_BYTES = 16;

const library = koffi.load(null);
const createContext = library.func('void *EVP_CIPHER_CTX_new(void)');
const aes256Gcm = library.func('void *EVP_aes_256_gcm(void)')() as unknown;
const control = library.func(
  'int EVP_CIPHER_CTX_ctrl(void *context, int command, int length, void *value)',
);
const initialize = library.func(
  'int EVP_CipherInit_ex(void *context, const void *cipher, void *engine, const void *key, const void *nonce, int encrypts)',
);
const update = library.func(
  'int EVP_CipherUpdate(void *context, void *target, void *targetLength, const void *source, int sourceLength)',
);
const finish = library.func(
  'int EVP_CipherFinal_ex(void *context, void *target, void *targetLength)',
);

/** EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG of openssl/evp.h. */
const GET_TAG = 0x10;
const SET_TAG = 0x11;

export interface GcmMessage {
  readonly key: Buffer;
  /** Never used twice with one key. */
  readonly nonce: Buffer;
  readonly associated: Buffer;
}

/** Seals and opens messages one after the other; it belongs to one thread. */
export class AesGcm {
  readonly #context: unknown = createContext();
  readonly #length = Buffer.alloc(4);
  readonly #rest = Buffer.alloc(16);

  /** Writes ciphertext and tag to `target`, which has room for both; returns their length. */
  seal(message: GcmMessage, plain: Buffer, target: Buffer): number {
    const end = plain.length + GCM_TAG_SIZE_BYTES;
    assert(target.length >= end, 'there is room for ciphertext and tag');
    const tag = target.subarray(plain.length, end);
    const done =
      this.#begin(message, 1) &&
      this.#update(target, plain) &&
      finish(this.#context, this.#rest, this.#length) === 1 &&
      control(this.#context, GET_TAG, GCM_TAG_SIZE_BYTES, tag) === 1;
    assert(done, 'sealing does not fail');
    return end;
  }

  /**
   * Writes the plain bytes of `sealed` (ciphertext and tag) to `target`. False when anything was
   * altered; `target` holds anything then.
   */
  open(message: GcmMessage, sealed: Buffer, target: Buffer): boolean {
    const plainLength = sealed.length - GCM_TAG_SIZE_BYTES;
    if (plainLength < 0) return false;
    assert(target.length >= plainLength, 'there is room for the plain bytes');
    // A copy, since the call takes memory that it could write to.
    const tag = Buffer.from(sealed.subarray(plainLength));
    return (
      this.#begin(message, 0) &&
      this.#update(target, sealed.subarray(0, plainLength)) &&
      control(this.#context, SET_TAG, GCM_TAG_SIZE_BYTES, tag) === 1 &&
      finish(this.#context, this.#rest, this.#length) === 1
    );
  }

  #begin({ key, nonce, associated }: GcmMessage, encrypts: 0 | 1): boolean {
    // The native code reads so many bytes, whatever is there.
    assert(key.length === GCM_KEY_SIZE_BYTES, 'a key has 32 bytes');
    assert(nonce.length === GCM_NONCE_SIZE_BYTES, 'a nonce has 12 bytes');
    return (
      initialize(this.#context, aes256Gcm, null, key, nonce, encrypts) === 1 &&
      this.#update(null, associated)
    );
  }

  #update(target: Buffer | null, source: Buffer): boolean {
    if (source.length === 0) return true;
    const code: unknown = update(this.#context, target, this.#length, source, source.length);
    return code === 1;
  }
}
