import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isZero } from './chunk-id.ts';

test('bytes are zero when all of them are, wherever the one that is not lies', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300_000 }), fc.nat(), (length, at) => {
      const bytes = Buffer.alloc(length);
      assert.ok(isZero(bytes));
      bytes[at % length] = 1;
      assert.ok(!isZero(bytes));
    }),
    { numRuns: 60 },
  );
  assert.ok(!isZero(Buffer.alloc(0)), 'nothing is not a run of zeroes');
});
