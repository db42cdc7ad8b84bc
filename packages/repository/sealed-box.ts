/**
 * Sealing to a public key: an ephemeral X25519 key agrees on a key with the repository's public key,
 * HKDF-SHA-256 derives from it the AES-256-GCM key that seals the content. Who holds the public key
 * can seal and cannot open. FORMAT.md, section 4.
 */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { CofferError, type Random } from '@coffer/base';

const TAG_SIZE_BYTES = 16;
const PUBLIC_KEY_SIZE_BYTES = 32;

/** What a box is larger than its content. */
export const BOX_OVERHEAD_BYTES = PUBLIC_KEY_SIZE_BYTES + TAG_SIZE_BYTES;

// DER prefixes of X25519 keys, RFC 8410: the raw key follows.
const SPKI_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

// The key of a box is used for one message only, so the nonce can be constant.
const NONCE = Buffer.alloc(12);

export interface KeyPair {
  readonly publicKey: Buffer;
  readonly privateKey: Buffer;
}

export function generateKeyPair(random: Random): KeyPair {
  // Any 32 bytes are an X25519 private key: RFC 7748, section 5.
  const privateKey = random.bytes(32);
  return { privateKey, publicKey: publicKeyOf(privateKey) };
}

export function publicKeyOf(privateKey: Buffer): Buffer {
  return rawPublicKey(createPublicKey(privateKeyObject(privateKey)));
}

export interface BoxToSeal {
  readonly publicKey: Buffer;
  readonly content: Buffer;
  /** Is not stored, and has to be the same when the box is opened. */
  readonly associated: Buffer;
  readonly random: Random;
}

export function sealBox({ publicKey, content, associated, random }: BoxToSeal): Buffer {
  const ephemeral = privateKeyObject(random.bytes(32));
  const ephemeralPublic = rawPublicKey(createPublicKey(ephemeral));
  const shared = diffieHellman({ privateKey: ephemeral, publicKey: publicKeyObject(publicKey) });
  const cipher = createCipheriv('aes-256-gcm', boxKey(shared, ephemeralPublic, publicKey), NONCE);
  cipher.setAAD(associated);
  return Buffer.concat([
    ephemeralPublic,
    cipher.update(content),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
}

/** Opens a box; fails with `object-damaged` when it was not sealed to this key or was altered. */
export function openBox(privateKey: Buffer, box: Buffer, associated: Buffer): Buffer {
  if (box.length < BOX_OVERHEAD_BYTES) throw new CofferError('object-damaged', { what: 'box' });
  const ephemeralPublic = box.subarray(0, PUBLIC_KEY_SIZE_BYTES);
  try {
    const own = privateKeyObject(privateKey);
    const shared = diffieHellman({
      privateKey: own,
      publicKey: publicKeyObject(ephemeralPublic),
    });
    const key = boxKey(shared, ephemeralPublic, rawPublicKey(createPublicKey(own)));
    const decipher = createDecipheriv('aes-256-gcm', key, NONCE, { authTagLength: TAG_SIZE_BYTES });
    decipher.setAAD(associated);
    decipher.setAuthTag(box.subarray(box.length - TAG_SIZE_BYTES));
    const content = decipher.update(box.subarray(PUBLIC_KEY_SIZE_BYTES, -TAG_SIZE_BYTES));
    decipher.final();
    return content;
  } catch (error) {
    throw new CofferError('object-damaged', { what: 'box' }, error);
  }
}

function boxKey(shared: Buffer, ephemeralPublic: Buffer, publicKey: Buffer): Buffer {
  const salt = Buffer.concat([ephemeralPublic, publicKey]);
  return Buffer.from(hkdfSync('sha256', shared, salt, 'coffer 1 sealed box', 32));
}

function rawPublicKey(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX.length);
}

function publicKeyObject(raw: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: 'der', type: 'spki' });
}

function privateKeyObject(raw: Buffer): KeyObject {
  return createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, raw]),
    format: 'der',
    type: 'pkcs8',
  });
}
