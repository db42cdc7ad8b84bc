/** What the header of a LUKS volume says, of version 1 and 2 alike. */
import type { CofferError } from '@coffer/base';
import type { ByteRange } from '@coffer/disk/disk.ts';
import type { Cipher, Hash } from './algorithm-codec.ts';

export interface LuksHeader {
  /** In the order in which they are tried. One that cannot be used is what is wrong with it. */
  readonly keySlots: readonly (KeySlot | CofferError)[];
  readonly digest: KeyDigest;
  /** One after the other they are the volume. */
  readonly segments: readonly Segment[];
}

/** The volume key, split by stripes and encrypted with a key that is made of a passphrase. */
export interface KeySlot {
  readonly index: number;
  readonly derivation: KeyDerivation;
  /** Size of the volume key. */
  readonly keyBytes: number;
  readonly stripeCount: number;
  readonly stripeHash: Hash;
  /** Where the stripes lie, in whole sectors. */
  readonly area: ByteRange;
  readonly areaCipher: Cipher;
  readonly areaKeyBytes: number;
}

export interface Pbkdf2 {
  readonly kind: 'pbkdf2';
  readonly hash: Hash;
  readonly iterationCount: number;
  readonly salt: Buffer;
}

export interface Argon2 {
  readonly kind: 'argon2i' | 'argon2id';
  readonly passCount: number;
  readonly memoryKib: number;
  readonly laneCount: number;
  readonly salt: Buffer;
}

export type KeyDerivation = Pbkdf2 | Argon2;

/** By which a volume key is recognised. */
export interface KeyDigest {
  readonly derivation: Pbkdf2;
  readonly digest: Buffer;
}

export interface Segment {
  /** Where it lies on the disk. */
  readonly range: ByteRange;
  readonly cipher: Cipher;
  readonly sectorBytes: number;
  /** Number of its first sector, in sectors of 512 bytes, as the cipher counts them. */
  readonly firstSector: number;
}

/** Ciphers count in these, however large the sectors are. */
export const SECTOR_BYTES = 512;

/** No volume key and no key of a slot is larger: two of AES-256. */
export const KEY_BYTES_MAX = 64;

/** What cryptsetup writes; nobody writes more. */
export const STRIPE_COUNT_MAX = 4000;

/** How many bytes the stripes of a key take: whole sectors. */
export function stripesBytes(keyBytes: number, stripeCount: number): number {
  return Math.ceil((keyBytes * stripeCount) / SECTOR_BYTES) * SECTOR_BYTES;
}
