import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ByteRange, Disk } from './disk.ts';
import { diskContract } from './testing/contract.ts';
import { joinedRanges, mergedRanges, rangesOutside, withoutRanges } from './without-ranges.ts';

const SIZE = 64;
const range = fc
  .tuple(fc.integer({ min: 0, max: SIZE }), fc.integer({ min: 0, max: SIZE }))
  .map(([a, b]): ByteRange => ({ offset: Math.min(a, b), length: Math.abs(a - b) }));

/** Remembers which bytes it was asked for. */
function askedDisk(bytes: Buffer): { disk: Disk; asked: Set<number> } {
  const asked = new Set<number>();
  const disk: Disk = {
    sizeBytes: bytes.length,
    async read(offset, target) {
      for (let at = 0; at < target.length; at++) asked.add(offset + at);
      bytes.copy(target, 0, offset, offset + target.length);
    },
    extents: (wanted = { offset: 0, length: bytes.length }) => [{ ...wanted, kind: 'data' }],
    close: async () => {},
  };
  return { disk, asked };
}

const bytesOf = (ranges: readonly ByteRange[]): Set<number> =>
  new Set(ranges.flatMap(({ offset, length }) => Array.from({ length }, (_, i) => offset + i)));

diskContract('a disk without ranges', async () => {
  const bytes = Buffer.alloc(9 * 1024 * 1024, 7);
  const leftOut = [
    { offset: 1000, length: 3_000_000 },
    { offset: 8_000_000, length: 1_437_184 },
  ];
  const disk: Disk = {
    sizeBytes: bytes.length,
    read: async (offset, target) => void bytes.copy(target, 0, offset, offset + target.length),
    extents: (wanted = { offset: 0, length: bytes.length }) => [{ ...wanted, kind: 'data' }],
    close: async () => {},
  };
  const expected = Buffer.from(bytes);
  for (const { offset, length } of leftOut) expected.fill(0, offset, offset + length);
  return { disk: withoutRanges(disk, leftOut), expected };
});

test('what is left out reads as zeroes, and is not asked for', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(range), range, async (leftOut, { offset, length }) => {
      const { disk, asked } = askedDisk(Buffer.alloc(SIZE, 7));
      const target = Buffer.alloc(length, 9);
      await withoutRanges(disk, leftOut).read(offset, target);
      const out = bytesOf(leftOut);
      target.forEach((byte, index) => assert.equal(byte, out.has(offset + index) ? 0 : 7));
      assert.ok([...asked].every((at) => !out.has(at)));
    }),
  );
});

test('of ranges, what is not left out remains, in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(range), fc.array(range), async (ranges, leftOut) => {
      const given = joinedRanges(ranges);
      const remaining: ByteRange[] = [];
      for await (const part of rangesOutside(iterate(given), leftOut)) remaining.push(part);
      assert.ok(remaining.every(({ length }) => length > 0));
      assert.deepEqual(
        remaining,
        remaining.toSorted((a, b) => a.offset - b.offset),
      );
      assert.deepEqual(bytesOf(remaining), bytesOf(given).difference(bytesOf(leftOut)));
    }),
  );
});

async function* iterate(ranges: readonly ByteRange[]): AsyncGenerator<ByteRange> {
  yield* ranges;
}

test('ranges are merged in order, and none is twice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(range), fc.array(range), async (ranges, others) => {
      const merged = await Array.fromAsync(mergedRanges(iterate(joinedRanges(ranges)), others));
      assert.deepEqual(bytesOf(merged), bytesOf(joinedRanges([...ranges, ...others])));
      for (const [index, { offset, length }] of merged.entries()) {
        assert.ok(length > 0 && offset + length <= (merged[index + 1]?.offset ?? SIZE));
      }
    }),
  );
});
