import assert from 'node:assert/strict';
import { it } from 'node:test';
import { openMemoryStore } from './memory.ts';
import { objectStoreContract } from './testing/contract.ts';
import { ANY_SIZE, listAll } from './testing/expectations.ts';
import { delayed } from './testing/delayed.ts';
import { manualClock } from './testing/manual-clock.ts';
import { throttled } from './throttled.ts';
import { objectLockContract } from './testing/lock-contract.ts';

const MIB = 1024 * 1024;

objectLockContract('throttled', async () => {
  const clock = manualClock(Date.now());
  const inner = openMemoryStore({ clock, objectLock: true });
  return throttled(inner, { rates: [{ bytesPerSecondMax: 100 * MIB }], clock });
});

objectStoreContract('throttled', async () => {
  const clock = manualClock(Date.now());
  return throttled(openMemoryStore({ clock }), {
    rates: [{ bytesPerSecondMax: 100 * MIB }],
    clock,
  });
});

objectStoreContract('delayed', async () => {
  const clock = manualClock(Date.now());
  const options = { latencyMs: 1, bytesPerSecondMax: 1000 * MIB, clock };
  return delayed(openMemoryStore({ clock }), options);
});

it('keeps both directions together under the rate', async () => {
  const clock = manualClock(1_000_000);
  const store = throttled(openMemoryStore({ clock }), {
    rates: [{ bytesPerSecondMax: MIB }],
    clock,
  });
  const bytes = Buffer.alloc(MIB);
  await Promise.all(['a', 'b', 'c'].map((name) => store.put(name, bytes)));
  await Promise.all([store.get('a', ANY_SIZE), store.getInto('b', 0, new Uint8Array(MIB))]);
  await store.getRange('c', { offset: 0, length: MIB / 2 });
  const seconds = (clock.now() - 1_000_000) / 1000;
  assert.ok(seconds > 5.3 && seconds <= 5.5, `5.5 MiB took ${seconds} s`);
});

it('does not save up more than a short burst', async () => {
  const clock = manualClock(1_000_000);
  const store = throttled(openMemoryStore({ clock }), {
    rates: [{ bytesPerSecondMax: MIB }],
    clock,
  });
  await clock.sleep(3_600_000);
  const start = clock.now();
  await store.put('a', Buffer.alloc(10 * MIB));
  assert.ok(clock.now() - start >= 9_900);
});

it('gives back what a stopped call did not use', async () => {
  const clock = manualClock(1_000_000);
  const store = throttled(openMemoryStore({ clock }), {
    rates: [{ bytesPerSecondMax: MIB }],
    clock,
  });
  const reason = new Error('told to stop');
  const controller = new AbortController();
  const large = store.put('a', Buffer.alloc(1000 * MIB), { signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(large, (error) => error === reason);
  const start = clock.now();
  await store.put('b', Buffer.alloc(MIB));
  assert.ok(clock.now() - start <= 1000);
});

it('a far store costs a round trip for each call and shares its link', async () => {
  const clock = manualClock();
  const options = { latencyMs: 50, bytesPerSecondMax: 10 * MIB, clock };
  const store = delayed(openMemoryStore({ clock }), options);
  await Promise.all(['a', 'b', 'c', 'd'].map((name) => store.put(name, Buffer.alloc(MIB))));
  assert.equal(clock.now(), 450);
  await Promise.all(['a', 'b'].map((name) => store.get(name, ANY_SIZE)));
  assert.equal(clock.now(), 450 + 250);
  await store.stat('a');
  await listAll(store, '');
  assert.equal(clock.now(), 450 + 250 + 100);
});
