import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { openMemoryStore } from '../memory.ts';
import { objectStoreContract } from './contract.ts';
import { CrashedError, faulty } from './faulty.ts';
import { manualClock } from './manual-clock.ts';

const clock = manualClock();

objectStoreContract('faulty without faults', async () =>
  faulty(openMemoryStore(), { random: seededRandom(1), clock }),
);

it('fails before and after effects, the same way for the same seed', async () => {
  const run = async (seed: number) => {
    const memory = openMemoryStore();
    const errors = { errorBefore: 0.3, errorAfter: 0.3, delayMsMax: 10 };
    const store = faulty(memory, { ...errors, random: seededRandom(seed), clock: manualClock() });
    const outcomes: string[] = [];
    for (let index = 0; index < 60; index++) {
      const failed = await store.put(`${index}`, Buffer.alloc(1)).then(() => false, isUnavailable);
      const stored = (await memory.stat(`${index}`)) !== undefined;
      outcomes.push(`${failed ? 'failed' : 'succeeded'}, ${stored ? 'stored' : 'not stored'}`);
    }
    return outcomes;
  };
  const outcomes = await run(7);
  const kinds = [...new Set(outcomes)].sort();
  assert.deepEqual(kinds, ['failed, not stored', 'failed, stored', 'succeeded, stored']);
  assert.deepEqual(await run(7), outcomes);
  assert.notDeepEqual(await run(8), outcomes);
});

it('does nothing any more after a crash', async () => {
  const memory = openMemoryStore();
  const store = faulty(memory, { random: seededRandom(1), clock, delayMsMax: 10 });
  const underWay = store.put('a', Buffer.alloc(1));
  store.crash();
  await assert.rejects(underWay, CrashedError);
  await assert.rejects(store.put('b', Buffer.alloc(1)), CrashedError);
  await assert.rejects(Array.fromAsync(store.list('')), CrashedError);
  assert.equal(await memory.stat('b'), undefined);
});

function isUnavailable(error: unknown): boolean {
  assert.ok(isCofferError(error, 'store-unavailable'));
  return true;
}
