import assert from 'node:assert/strict';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Cipher, parseCipher } from './algorithm-codec.ts';
import { createSectorCipher } from './sector-cipher.ts';

const CASES = [
  ['aes-xts-plain64', 32, 64],
  ['aes-xts-plain', 32, 64],
  ['aes-cbc-plain64', 16, 24, 32],
  ['aes-cbc-plain', 16, 24, 32],
  ['aes-cbc-essiv:sha256', 16, 24, 32],
] as const;

/** The cipher of OpenSSL for one sector. */
function encryptSector({ mode, vector }: Cipher, key: Buffer, sector: bigint, plain: Buffer) {
  const number = Buffer.alloc(16);
  number.writeBigUInt64LE(vector === 'plain' ? BigInt.asUintN(32, sector) : sector);
  const bits = mode === 'xts' ? key.length * 4 : key.length * 8;
  const block = vector === 'essiv' ? essiv(key, number) : number;
  const cipher = createCipheriv(`aes-${bits}-${mode}`, key, block);
  if (mode === 'cbc') cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(plain), cipher.final()]);
}

function essiv(key: Buffer, number: Buffer): Buffer {
  const salt = createHash('sha256').update(key).digest();
  return createCipheriv('aes-256-ecb', salt, null).setAutoPadding(false).update(number);
}

for (const [name, ...keySizes] of CASES) {
  test(`${name} is that of OpenSSL for every size of keys and sectors`, () => {
    const cipher = parseCipher(name);
    const firstSectors = fc.oneof(
      fc.nat(1000),
      fc.integer({ min: 2 ** 32 - 40, max: 2 ** 32 }),
      fc.maxSafeInteger().map((value) => Math.floor(Math.abs(value) / 2)),
    );
    fc.assert(
      fc.property(
        fc.constantFrom<number>(...keySizes),
        fc.constantFrom(512, 1024, 2048, 4096),
        fc.integer({ min: 1, max: 5 }),
        firstSectors,
        (keyBytes, sectorBytes, sectorCount, firstSector) => {
          const key = randomBytes(keyBytes);
          const plain = randomBytes(sectorBytes * sectorCount);
          const sectors = Array.from({ length: sectorCount }, (_, index) => {
            const sector = BigInt(firstSector) + BigInt((index * sectorBytes) / 512);
            const start = index * sectorBytes;
            return encryptSector(cipher, key, sector, plain.subarray(start, start + sectorBytes));
          });
          const encrypted = Buffer.alloc(plain.length);
          Buffer.concat(sectors).copy(encrypted);
          const reader = createSectorCipher(cipher, key, sectorBytes);
          reader.decrypt(Buffer.alloc(sectorBytes), 7);
          assert.ok(reader.decrypt(encrypted, firstSector).equals(plain));
        },
      ),
    );
  });
}
