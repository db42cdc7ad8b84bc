// Xpress, by the examples of its specification and against an encoder that follows it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isCofferError } from '@coffer/base';
import { decompressLznt1 } from './lznt1-codec.ts';
import { compressXpress } from './testing/xpress-encoder.ts';
import { decompressXpress } from './xpress-codec.ts';

function decompressed(source: Buffer, sizeBytes: number): Buffer {
  const target = Buffer.alloc(sizeBytes, 0xee);
  decompressXpress(source, target, 0);
  return target;
}

/** Lengths of codes by symbol, as the first 256 bytes hold them. */
function table(lengths: Readonly<Record<number, number>>): Buffer {
  const bytes = Buffer.alloc(256);
  for (const [symbol, length] of Object.entries(lengths)) {
    bytes[Number(symbol) >> 1]! |= length << (4 * (Number(symbol) & 1));
  }
  return bytes;
}

test('reads the examples of MS-XCA 3.2', () => {
  const letters: Record<number, number> = { 256: 4 };
  for (let symbol = 97; symbol <= 122; symbol++) letters[symbol] = symbol < 119 ? 5 : 4;
  const alphabet = Buffer.concat([
    table(letters),
    Buffer.from('d8523ed794115be9195ff9d67cdf8d0400000000', 'hex'),
  ]);
  assert.equal(String(decompressed(alphabet, 26)), 'abcdefghijklmnopqrstuvwxyz');
  const repeated = Buffer.concat([
    table({ 97: 3, 98: 3, 99: 2, 256: 2, 287: 2 }),
    Buffer.from('a8dc0000ff2601', 'hex'),
  ]);
  assert.equal(String(decompressed(repeated, 300)), 'abc'.repeat(100));
});

/** Bytes with many repetitions, near and far. */
const content = fc
  .array(
    fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 3000 })),
    ),
    { maxLength: 12 },
  )
  .map((parts) =>
    Buffer.concat(
      parts.map((part) =>
        part instanceof Uint8Array ? part : Buffer.alloc(part[1], Buffer.from(part[0])),
      ),
    ),
  );

test('reads what was compressed', () => {
  fc.assert(
    fc.property(content, (bytes) => {
      assert.ok(decompressed(compressXpress(bytes), bytes.length).equals(bytes));
    }),
  );
});

test('damaged bytes fail with an error that is told, or give others', () => {
  const damage = fc.record({ at: fc.nat(), byte: fc.nat(255), cut: fc.nat(40) });
  fc.assert(
    fc.property(content, damage, (bytes, { at, byte, cut }) => {
      const source = compressXpress(bytes);
      source[at % source.length] = byte;
      tellsOrGives(() => decompressed(source.subarray(0, source.length - cut), bytes.length));
    }),
  );
});

test('any bytes as clusters compressed by LZNT1 are told or give others', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 9000 }), fc.nat(20_000), (bytes, sizeBytes) => {
      tellsOrGives(() => decompressLznt1(Buffer.from(bytes), Buffer.alloc(sizeBytes), 0));
    }),
  );
});

function tellsOrGives(run: () => void): void {
  try {
    run();
  } catch (error) {
    assert.ok(isCofferError(error, 'file-system-damaged'), String(error));
  }
}
