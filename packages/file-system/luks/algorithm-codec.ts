/** Names of ciphers and hashes in headers, as the kernel spells them. */
import { getHashes } from 'node:crypto';
import { unsupported } from './failures.ts';

export interface Cipher {
  readonly name: string;
  readonly mode: 'xts' | 'cbc';
  /** How the number of a sector becomes its initialisation vector. */
  readonly vector: 'plain' | 'plain64' | 'essiv';
}

export interface Hash {
  readonly name: string;
  readonly digestBytes: number;
}

const CIPHERS: readonly Cipher[] = [
  { name: 'aes-xts-plain64', mode: 'xts', vector: 'plain64' },
  { name: 'aes-xts-plain', mode: 'xts', vector: 'plain' },
  { name: 'aes-cbc-essiv:sha256', mode: 'cbc', vector: 'essiv' },
  { name: 'aes-cbc-plain64', mode: 'cbc', vector: 'plain64' },
  { name: 'aes-cbc-plain', mode: 'cbc', vector: 'plain' },
];

const HASHES: readonly Hash[] = [
  { name: 'sha1', digestBytes: 20 },
  { name: 'sha224', digestBytes: 28 },
  { name: 'sha256', digestBytes: 32 },
  { name: 'sha384', digestBytes: 48 },
  { name: 'sha512', digestBytes: 64 },
  { name: 'ripemd160', digestBytes: 20 },
];

/** The names are quoted in errors, and come from outside. */
const NAME_LENGTH_MAX = 64;

/** Fails with `file-system-unsupported`, naming the cipher. */
export function parseCipher(name: string): Cipher {
  const cipher = CIPHERS.find((known) => known.name === name.toLowerCase());
  if (!cipher) throw unsupported(`cipher ${JSON.stringify(name.slice(0, NAME_LENGTH_MAX))}`);
  return cipher;
}

/** Fails with `file-system-unsupported`, naming the hash. */
export function parseHash(name: string): Hash {
  const hash = HASHES.find((known) => known.name === name.toLowerCase());
  if (hash && getHashes().includes(hash.name)) return hash;
  throw unsupported(`hash ${JSON.stringify(name.slice(0, NAME_LENGTH_MAX))}`);
}

/** Keys are of AES, and XTS has two. Fails with `file-system-unsupported`. */
export function requireKeySize({ name, mode }: Cipher, keyBytes: number): void {
  const aesKeyBytes = mode === 'xts' ? keyBytes / 2 : keyBytes;
  if (![16, 24, 32].includes(aesKeyBytes)) {
    throw unsupported(`cipher ${name} with a key of ${keyBytes} bytes`);
  }
}
