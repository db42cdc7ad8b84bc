/** The header of LUKS1: on-disk format specification 1.2.3. Integers are big-endian. */
import { type CofferError, isCofferError } from '@coffer/base';
import {
  type Cipher,
  type Hash,
  parseCipher,
  parseHash,
  requireKeySize,
} from './algorithm-codec.ts';
import { damaged, unsupported } from './failures.ts';
import {
  KEY_BYTES_MAX,
  type KeySlot,
  type LuksHeader,
  SECTOR_BYTES,
  STRIPE_COUNT_MAX,
  stripesBytes,
} from './header.ts';

export const LUKS1_HEADER_BYTES = 592;

const STRUCTURE = 'LUKS1 header';
const SALT_BYTES = 32;
const DIGEST_BYTES = 20;

const KEY_SLOT_COUNT = 8;
const KEY_SLOTS_OFFSET = 208;
const KEY_SLOT_BYTES = 48;
const KEY_SLOT_ENABLED = 0x00ac71f3;
const KEY_SLOT_DISABLED = 0x0000dead;

/** What all key slots share. */
interface Keys {
  readonly cipher: Cipher;
  readonly hash: Hash;
  readonly keyBytes: number;
}

/**
 * `bytes` are the first `LUKS1_HEADER_BYTES` of a volume with the magic of LUKS and version 1. Fails
 * with `file-system-damaged` and `file-system-unsupported`. Section 2.1.
 */
export function parseLuks1Header(bytes: Buffer, volumeBytes: number): LuksHeader {
  const keyBytes = bytes.readUInt32BE(108);
  if (keyBytes === 0 || keyBytes > KEY_BYTES_MAX) throw damagedAt(108, `key of ${keyBytes} bytes`);
  const cipher = parseCipher(`${textOf(bytes, 8)}-${textOf(bytes, 40)}`);
  requireKeySize(cipher, keyBytes);
  const keys: Keys = { cipher, hash: parseHash(textOf(bytes, 72)), keyBytes };
  return {
    keySlots: keySlotsOf(bytes, keys),
    digest: {
      derivation: {
        kind: 'pbkdf2',
        hash: keys.hash,
        iterationCount: iterationsAt(bytes, 164),
        salt: copyOf(bytes, 132, SALT_BYTES),
      },
      digest: copyOf(bytes, 112, DIGEST_BYTES),
    },
    segments: [
      {
        range: payloadOf(bytes, volumeBytes),
        cipher,
        sectorBytes: SECTOR_BYTES,
        firstSector: 0,
      },
    ],
  };
}

/** All up to the end. */
function payloadOf(bytes: Buffer, volumeBytes: number) {
  const offset = bytes.readUInt32BE(104) * SECTOR_BYTES;
  if (offset === 0) throw unsupported('header that is detached from its data');
  const sectorCount = Math.floor((volumeBytes - offset) / SECTOR_BYTES);
  if (offset < LUKS1_HEADER_BYTES || sectorCount <= 0) {
    throw damagedAt(104, `payload at ${offset} of ${volumeBytes} bytes`);
  }
  return { offset, length: sectorCount * SECTOR_BYTES };
}

/** The header has no checksum, so that one damaged slot says nothing of the others. */
function keySlotsOf(bytes: Buffer, keys: Keys): (KeySlot | CofferError)[] {
  const keySlots: (KeySlot | CofferError)[] = [];
  for (let index = 0; index < KEY_SLOT_COUNT; index++) {
    const offset = KEY_SLOTS_OFFSET + index * KEY_SLOT_BYTES;
    if (bytes.readUInt32BE(offset) === KEY_SLOT_DISABLED) continue;
    try {
      keySlots.push(parseKeySlot(bytes, index, keys));
    } catch (error) {
      if (!isCofferError(error)) throw error;
      keySlots.push(error);
    }
  }
  return keySlots;
}

function parseKeySlot(bytes: Buffer, index: number, { cipher, hash, keyBytes }: Keys): KeySlot {
  const offset = KEY_SLOTS_OFFSET + index * KEY_SLOT_BYTES;
  if (bytes.readUInt32BE(offset) !== KEY_SLOT_ENABLED) throw damagedAt(offset, 'state of key slot');
  const areaOffset = bytes.readUInt32BE(offset + 40) * SECTOR_BYTES;
  if (areaOffset < LUKS1_HEADER_BYTES) throw damagedAt(offset + 40, 'key material in the header');
  const stripeCount = bytes.readUInt32BE(offset + 44);
  if (stripeCount === 0 || stripeCount > STRIPE_COUNT_MAX) {
    throw damagedAt(offset + 44, `${stripeCount} stripes`);
  }
  return {
    index,
    derivation: {
      kind: 'pbkdf2',
      hash,
      iterationCount: iterationsAt(bytes, offset + 4),
      salt: copyOf(bytes, offset + 8, SALT_BYTES),
    },
    keyBytes,
    stripeCount,
    stripeHash: hash,
    area: { offset: areaOffset, length: stripesBytes(keyBytes, stripeCount) },
    areaCipher: cipher,
    areaKeyBytes: keyBytes,
  };
}

function iterationsAt(bytes: Buffer, offset: number): number {
  const count = bytes.readUInt32BE(offset);
  if (count === 0) throw damagedAt(offset, 'no iterations');
  return count;
}

/** Names have 32 bytes and end with a zero. */
function textOf(bytes: Buffer, offset: number): string {
  const field = bytes.toString('latin1', offset, offset + 32);
  return field.split('\0', 1)[0]!;
}

function copyOf(bytes: Buffer, offset: number, length: number): Buffer {
  return Buffer.from(bytes.subarray(offset, offset + length));
}

function damagedAt(offset: number, reason: string): CofferError {
  return damaged(STRUCTURE, offset, reason);
}
