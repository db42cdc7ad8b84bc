import assert from 'node:assert/strict';
import { test } from 'node:test';
import { continueCrc32c, continueCrc32cByNumber, crc32c, CRC32C_START } from './crc32c.ts';
import { seededRandom } from './random.ts';

test('CRC-32C is that of RFC 3720, section B.4', () => {
  const ascending = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.equal(crc32c(ascending), 0x46dd794e);
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
});

test('parts of any length give the checksum of the whole', () => {
  const bytes = seededRandom(1).bytes(1000);
  for (const cut of [0, 1, 7, 8, 9, 500, 999, 1000]) {
    const [first, rest] = [bytes.subarray(0, cut), bytes.subarray(cut)];
    assert.equal(crc32c(rest, crc32c(first)), crc32c(bytes));
    const raw = continueCrc32c(continueCrc32c(CRC32C_START, first), rest);
    assert.equal(~raw >>> 0, crc32c(bytes));
  }
  const number = Buffer.from([4, 3, 2, 1]);
  assert.equal(continueCrc32cByNumber(5, 0x01020304), continueCrc32c(5, number));
});
