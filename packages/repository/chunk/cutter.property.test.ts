import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digest, seededRandom } from '@coffer/base';
import fc from 'fast-check';
import { GEOMETRY } from '../config.ts';
import { Cutter } from './cutter.ts';

const { min, max } = GEOMETRY.fileChunkSizeBytes;
const cutter = new Cutter(seededRandom(1).bytes(32));
const CONTENT = seededRandom(2).bytes(6 * 1024 * 1024);

function chunksOf(bytes: Buffer): Buffer[] {
  let offset = 0;
  return cutter.cut(bytes, true).map((length) => bytes.subarray(offset, (offset += length)));
}

test('chunks join to the content, and all but the last keep the bounds', () => {
  fc.assert(
    fc.property(fc.nat(CONTENT.length), fc.nat(CONTENT.length), (a, b) => {
      const content = CONTENT.subarray(Math.min(a, b), Math.max(a, b));
      const chunks = chunksOf(content);
      assert.ok(Buffer.concat(chunks).equals(content));
      for (const chunk of chunks) assert.ok(chunk.length > 0 && chunk.length <= max);
      for (const chunk of chunks.slice(0, -1)) assert.ok(chunk.length > min);
    }),
    { numRuns: 8 },
  );
});

test('how the content arrives does not change its cuts', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 40_000, max: 2_500_000 }), { minLength: 1 }),
      (arrivals) => {
        const lengths: number[] = [];
        let carried = 0;
        let offset = 0;
        for (let turn = 0; offset < CONTENT.length; turn++) {
          const arrived = Math.min(arrivals[turn % arrivals.length]!, CONTENT.length - offset);
          const start = offset - carried;
          offset += arrived;
          const last = offset === CONTENT.length;
          const cuts = cutter.cut(CONTENT.subarray(start, offset), last);
          lengths.push(...cuts);
          carried = offset - start - cuts.reduce((sum, length) => sum + length, 0);
        }
        assert.deepEqual(
          lengths,
          chunksOf(CONTENT).map(({ length }) => length),
        );
      },
    ),
    { numRuns: 5 },
  );
});

test('an insertion changes only the chunks near it', () => {
  const before = new Set(chunksOf(CONTENT).map((chunk) => digest(chunk).toString('hex')));
  fc.assert(
    fc.property(
      fc.nat(CONTENT.length),
      fc.uint8Array({ minLength: 1, maxLength: 100 }),
      (at, inserted) => {
        const changed = [CONTENT.subarray(0, at), inserted, CONTENT.subarray(at)];
        const chunks = chunksOf(Buffer.concat(changed));
        const fresh = chunks.filter((chunk) => !before.has(digest(chunk).toString('hex')));
        assert.ok(fresh.length <= 6, `${fresh.length} of ${chunks.length} chunks are new`);
      },
    ),
    { numRuns: 8, seed: 1 },
  );
});

test('another hash key cuts elsewhere', () => {
  const other = new Cutter(seededRandom(3).bytes(32));
  assert.notDeepEqual(other.cut(CONTENT, true), cutter.cut(CONTENT, true));
});

test('content without a cut is cut at the largest size', () => {
  const lengths = cutter.cut(Buffer.alloc(2 * max + 5, 7), true);
  assert.equal(
    lengths.reduce((sum, length) => sum + length, 0),
    2 * max + 5,
  );
  // The same byte over and over either cuts at once or never.
  assert.ok(lengths[0] === max || lengths[0]! <= min + 32);
});
