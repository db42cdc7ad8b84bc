import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { blockRuns } from './block-runs.ts';

/** Blocks of zeroes, of one byte, and of which only one byte is set. */
const block = fc.constantFrom(
  Buffer.alloc(4096),
  Buffer.alloc(4096, 1),
  Buffer.concat([Buffer.alloc(4095), Buffer.from([1])]),
);
const bytes = fc.tuple(fc.array(block, { maxLength: 6 }), fc.nat(4095)).map(([blocks, cut]) => {
  const whole = Buffer.concat(blocks);
  return whole.subarray(0, Math.max(0, whole.length - cut));
});

test('what is written, with holes and what is kept, is what is wanted', () => {
  fc.assert(
    fc.property(bytes, fc.option(bytes, { nil: undefined }), (wanted, current) => {
      const made = Buffer.alloc(wanted.length, 0xff);
      current?.copy(made);
      let place = 0;
      let kindBefore: string | undefined;
      for (const { start, end, kind } of blockRuns(wanted, current)) {
        assert.equal(start, place);
        assert.notEqual(kind, kindBefore, 'neighbours are joined');
        if (kind === 'data') wanted.copy(made, start, start, end);
        if (kind === 'zero') made.fill(0, start, end);
        place = end;
        kindBefore = kind;
      }
      assert.equal(place, wanted.length);
      assert.ok(made.equals(wanted));
    }),
  );
});

test('what is there already is kept, and zeroes are not data', () => {
  const kinds = (wanted: Buffer, current?: Buffer) =>
    [...blockRuns(wanted, current)].map(({ kind, start, end }) => `${kind} ${start}-${end}`);
  const zeroes = Buffer.alloc(10_000);
  const mixed = Buffer.concat([zeroes.subarray(0, 8192), Buffer.alloc(100, 1)]);
  assert.deepEqual(kinds(zeroes), ['zero 0-10000']);
  assert.deepEqual(kinds(mixed), ['zero 0-8192', 'data 8192-8292']);
  assert.deepEqual(kinds(mixed, mixed), ['kept 0-8292']);
  assert.deepEqual(kinds(mixed, mixed.subarray(0, 5000)), [
    'kept 0-4096',
    'zero 4096-8192',
    'data 8192-8292',
  ]);
});
