import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { startDeadline } from './deadline.ts';
import { heldClock } from './testing/held-clock.ts';

test('a deadline is told once it has passed, and not when it was met', async () => {
  const clock = heldClock();
  const told: string[] = [];
  startDeadline(clock, 100, () => told.push('missed'));
  const meet = startDeadline(clock, 100, () => told.push('met'));
  clock.pass(99);
  await nextTurn();
  assert.deepEqual(told, []);
  meet();
  clock.pass(1);
  await nextTurn();
  assert.deepEqual(told, ['missed']);
  assert.deepEqual(clock.sleeps, []);
});
