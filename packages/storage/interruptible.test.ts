import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError, systemClock } from '@coffer/base';
import { interruptible } from './interruptible.ts';
import { openMemoryStore } from './memory.ts';
import type { ObjectStore } from './object-store.ts';
import { objectStoreContract } from './testing/contract.ts';
import { ANY_SIZE, failsWith, listAll } from './testing/expectations.ts';
import { objectLockContract } from './testing/lock-contract.ts';

const { signal: never } = new AbortController();

objectStoreContract('interruptible', async () => {
  return interruptible(openMemoryStore({ clock: systemClock }), never);
});

objectLockContract('interruptible', async () => {
  return interruptible(openMemoryStore({ clock: systemClock, objectLock: true }), never);
});

test('every call fails with the reason once the signal is aborted', async () => {
  const ended = new AbortController();
  const inner = openMemoryStore({ clock: systemClock });
  await inner.put('a', Buffer.from('a'));
  const store = interruptible(inner, ended.signal);
  ended.abort(new CofferError('interrupted'));
  const calls: readonly (() => Promise<unknown>)[] = [
    () => store.put('b', Buffer.from('b')),
    () => store.get('a', ANY_SIZE),
    () => store.getRange('a', { offset: 0, length: 1 }),
    () => store.getInto('a', 0, Buffer.alloc(1)),
    () => store.stat('a'),
    () => listAll(store, ''),
    () => store.delete('a'),
    () => store.protect('a', 1),
    () => store.removeLeftovers(1),
  ];
  for (const call of calls) await failsWith('interrupted', call());
  assert.deepEqual(
    (await listAll(inner, '')).map(({ name }) => name),
    ['a'],
  );
});

test('a call that is under way is told of the end, also where it has a signal of its own', async () => {
  const ended = new AbortController();
  const waiting: AbortSignal[] = [];
  const hanging: ObjectStore = {
    ...openMemoryStore({ clock: systemClock }),
    stat: async (_name, options) => {
      waiting.push(options!.signal!);
      return await new Promise((_resolve, reject) => {
        options!.signal!.addEventListener('abort', () => reject(options!.signal!.reason as Error));
      });
    },
  };
  const store = interruptible(hanging, ended.signal);
  const calls = [store.stat('a'), store.stat('b', { signal: never })];
  const failed = calls.map((call) => failsWith('interrupted', call));
  ended.abort(new CofferError('interrupted'));
  await Promise.all(failed);
  assert.equal(waiting.length, 2);
});

test('a list that is read slowly ends between two names', async () => {
  const ended = new AbortController();
  const inner = openMemoryStore({ clock: systemClock });
  for (const name of ['a', 'b', 'c']) await inner.put(name, Buffer.alloc(0));
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { name } of interruptible(inner, ended.signal).list('')) {
      seen.push(name);
      ended.abort(new CofferError('interrupted'));
    }
  })();
  await failsWith('interrupted', reading);
  assert.deepEqual(seen, ['a']);
});
