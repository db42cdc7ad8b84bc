/**
 * AES-XTS and AES-CBC over many sectors at once. Making a cipher of `node:crypto` for each sector
 * takes ten times as long as decrypting it does. So one cipher in ECB mode decrypts the blocks of
 * all sectors in one call, and what makes XTS or CBC of it is done here with words of 32 bits.
 */
import {
  type Cipheriv,
  createCipheriv,
  createDecipheriv,
  type Decipheriv,
  hash,
} from 'node:crypto';
import { endianness } from 'node:os';
import { assert } from '@coffer/base';
import type { Cipher } from './algorithm-codec.ts';
import { SECTOR_BYTES } from './header.ts';

const BLOCK_BYTES = 16;
const BLOCK_WORDS = 4;

export interface SectorCipher {
  /**
   * The plain bytes of whole sectors that follow each other; `bytes` hold anything afterwards.
   * `firstSector` is the number of the first, in sectors of 512 bytes.
   */
  decrypt(bytes: Buffer, firstSector: number): Buffer;
}

/** The size of the key suits the cipher (`requireKeySize`). */
export function createSectorCipher(
  { mode, vector }: Cipher,
  key: Buffer,
  sectorBytes: number,
): SectorCipher {
  assert(endianness() === 'LE', 'words are little-endian, as the tweaks of XTS are');
  const vectors = (sectorCount: number, firstSector: number) =>
    sectorNumbers(sectorCount, firstSector, sectorBytes / SECTOR_BYTES, vector === 'plain');
  if (mode === 'xts') return xtsCipher(key, sectorBytes, vectors);
  if (vector !== 'essiv') return cbcCipher(key, sectorBytes, vectors);
  const salted = ecbEncryption(hash('sha256', key, 'buffer'));
  return cbcCipher(key, sectorBytes, (...range) => salted.update(vectors(...range)));
}

/** A block for each sector. */
type Vectors = (sectorCount: number, firstSector: number) => Buffer;

/** The number of each sector, little-endian, of 64 bits or cut to 32. */
function sectorNumbers(count: number, first: number, step: number, isCut: boolean): Buffer {
  const blocks = Buffer.alloc(count * BLOCK_BYTES);
  for (let index = 0; index < count; index++) {
    const number = first + index * step;
    blocks.writeUInt32LE(number % 2 ** 32, index * BLOCK_BYTES);
    if (!isCut) blocks.writeUInt32LE(Math.floor(number / 2 ** 32), index * BLOCK_BYTES + 4);
  }
  return blocks;
}

/** IEEE 1619: every block is masked by a tweak, decrypted, and masked again. */
function xtsCipher(key: Buffer, sectorBytes: number, vectors: Vectors): SectorCipher {
  const half = key.length / 2;
  const blocks = ecbDecryption(key.subarray(0, half));
  const tweaks = ecbEncryption(key.subarray(half));
  return {
    decrypt(bytes, firstSector) {
      const encrypted = wordsOf(bytes);
      const first = wordsOf(tweaks.update(vectors(bytes.length / sectorBytes, firstSector)));
      const masks = maskOf(first, sectorBytes / BLOCK_BYTES);
      mix(encrypted, masks);
      const plain = blocks.update(bytes);
      mix(wordsOf(plain), masks);
      return plain;
    },
  };
}

/** The tweaks of all blocks: each is that before it, times x in the field of 2^128 elements. */
function maskOf(first: Int32Array, blockCount: number): Int32Array {
  const masks = new Int32Array(first.length * blockCount);
  let at = 0;
  for (let sector = 0; sector < first.length; sector += BLOCK_WORDS) {
    let a = first[sector]!;
    let b = first[sector + 1]!;
    let c = first[sector + 2]!;
    let d = first[sector + 3]!;
    for (let block = 0; block < blockCount; block++) {
      masks[at++] = a;
      masks[at++] = b;
      masks[at++] = c;
      masks[at++] = d;
      const carry = (d >> 31) & 0x87;
      d = (d << 1) | (c >>> 31);
      c = (c << 1) | (b >>> 31);
      b = (b << 1) | (a >>> 31);
      a = (a << 1) ^ carry;
    }
  }
  return masks;
}

function mix(words: Int32Array, masks: Int32Array): void {
  for (let at = 0; at < words.length; at++) words[at]! ^= masks[at]!;
}

/** Every block is decrypted and mixed with the encrypted one before it, or with the vector. */
function cbcCipher(key: Buffer, sectorBytes: number, vectors: Vectors): SectorCipher {
  const blocks = ecbDecryption(key);
  return {
    decrypt(bytes, firstSector) {
      const encrypted = wordsOf(bytes);
      const decrypted = blocks.update(bytes);
      const plain = wordsOf(decrypted);
      const first = wordsOf(vectors(bytes.length / sectorBytes, firstSector));
      const sectorWords = sectorBytes / 4;
      for (let start = 0, vector = 0; start < plain.length; start += sectorWords) {
        for (let at = 0; at < BLOCK_WORDS; at++) plain[start + at]! ^= first[vector++]!;
        const end = start + sectorWords;
        for (let at = start + BLOCK_WORDS; at < end; at++)
          plain[at]! ^= encrypted[at - BLOCK_WORDS]!;
      }
      return decrypted;
    },
  };
}

/** Blocks do not depend on each other, so that one cipher serves all calls. */
function ecbDecryption(key: Buffer): Decipheriv {
  return createDecipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(false);
}

function ecbEncryption(key: Buffer): Cipheriv {
  return createCipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(false);
}

function wordsOf(bytes: Buffer): Int32Array {
  assert(bytes.byteOffset % 4 === 0 && bytes.length % 4 === 0, 'bytes are whole words');
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
