/** Jobs that are tried again, killed or overtaken at each call. */
import { test } from 'node:test';
import { callCount, killedAfter, MEANWHILE, stoodStillAt } from '../testing/attempts.ts';

test('killed after any call, the first attempt has made the point, or the next one does', async () => {
  const calls = await callCount();
  for (const number of [1, 2]) for (let at = 0; at < calls; at++) await killedAfter(at, number);
});

test('one point is made when others run while an attempt stands still at any call', async () => {
  const calls = await callCount();
  for (const meanwhile of MEANWHILE) {
    for (let at = 0; at < calls; at++) await stoodStillAt(at, meanwhile);
  }
});
