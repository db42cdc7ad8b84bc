import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MachineWatch, type Seen } from './machine-watch.ts';

const THERE = { isThere: true, isAwaited: true };
const GONE = { isThere: false, isAwaited: true };
const ALONE = { isThere: false, isAwaited: false };

function last(...looks: readonly [seen: Seen, seconds: number][]): boolean {
  const watch = new MachineWatch();
  return looks.map(([seen, seconds]) => watch.isGone(seen, seconds * 1000)).at(-1)!;
}

test('a machine that was there and is not any more is gone after a while', () => {
  assert.equal(last([THERE, 0], [GONE, 1], [GONE, 30]), false);
  assert.equal(last([THERE, 0], [GONE, 1], [GONE, 31]), true);
  assert.equal(last([THERE, 0], [GONE, 1], [THERE, 20], [GONE, 25], [GONE, 54]), false);
});

test('a machine that is still to be made is not gone, unless nobody makes it any more', () => {
  assert.equal(last([GONE, 0], [GONE, 1000]), false);
  assert.equal(last([GONE, 0], [ALONE, 1000], [ALONE, 1029]), false);
  assert.equal(last([GONE, 0], [ALONE, 1000], [ALONE, 1030]), true);
});
