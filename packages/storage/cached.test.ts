import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CofferError, seededRandom } from '@coffer/base';
import { cached } from './cached.ts';
import { openMemoryStore } from './memory.ts';
import { metered } from './metered.ts';
import type { ObjectStore } from './object-store.ts';
import { failsWith, listAll, objectStoreContract } from './testing/contract.ts';
import { faulty } from './testing/faulty.ts';
import { manualClock } from './testing/manual-clock.ts';

const OPTIONS = { names: () => true, sizeBytesMax: 1000 };

objectStoreContract('cached', () =>
  cached(openMemoryStore(), { ...OPTIONS, cache: openMemoryStore(), sizeBytesMax: 1_000_000 }),
);

describe('cached', () => {
  it('asks the store once, also over restarts and for ranges', async () => {
    const cache = openMemoryStore();
    const { inner, store } = await open({ cache });
    await inner.put('index/a', Buffer.from('abc'));
    for (let index = 0; index < 3; index++) assert.equal((await store.get('index/a')).length, 3);
    assert.equal((await store.get('index/a', { offset: 1, length: 1 })).toString(), 'b');
    const again = await cached(inner, { ...OPTIONS, cache });
    assert.equal((await again.get('index/a')).toString(), 'abc');
    assert.equal(inner.counts().get.calls, 1);
  });

  it('keeps chosen names only', async () => {
    const cache = openMemoryStore();
    const { inner, store } = await open({ cache, names: (name) => name.startsWith('index/') });
    await inner.put('packs/a', Buffer.from('abc'));
    await store.get('packs/a');
    await store.getInto('packs/a', 0, new Uint8Array(3));
    assert.deepEqual(await listAll(cache, ''), []);
  });

  it('stays within its size and forgets what was not read for the longest time', async () => {
    const cache = openMemoryStore();
    const { inner, store } = await open({ cache });
    for (const name of ['a', 'b', 'c', 'd']) await inner.put(name, Buffer.alloc(280));
    // Three copies of 280 + 32 bytes fit.
    for (const name of ['a', 'b', 'c', 'a', 'd']) await store.get(name);
    assert.deepEqual(
      (await listAll(cache, '')).map((info) => info.name),
      ['a', 'c', 'd'],
    );
    await inner.put('large', Buffer.alloc(1000));
    await store.get('large');
    assert.equal((await listAll(cache, '')).length, 3);
    const smaller = await cached(inner, { ...OPTIONS, cache, sizeBytesMax: 700 });
    await smaller.close();
    assert.equal((await listAll(cache, '')).length, 2);
  });

  it('reads a rotten or misplaced copy anew', async () => {
    const cache = openMemoryStore();
    const { inner, store } = await open({ cache });
    for (const name of ['a', 'b']) await inner.put(name, Buffer.from(`this is ${name}`));
    await store.get('a');
    const copy = await cache.get('a');
    const rotten = Buffer.from(copy);
    rotten.writeUInt8(rotten.readUInt8(rotten.length - 1) ^ 1, rotten.length - 1);
    for (const bad of [rotten, copy.subarray(0, 20), Buffer.alloc(0)]) {
      await cache.delete('a');
      await cache.put('a', bad);
      assert.equal((await store.get('a')).toString(), 'this is a');
      assert.deepEqual(await cache.get('a'), copy);
    }
    await cache.put('b', copy);
    assert.equal((await store.get('b')).toString(), 'this is b');
  });

  it('works without a cache that works', async () => {
    const clock = manualClock();
    const random = seededRandom(1);
    const cache = faulty(openMemoryStore(), { errorBefore: 0.9999999, clock, random });
    const { inner, store } = await open({ cache });
    await inner.put('a', Buffer.from('abc'));
    assert.equal((await store.get('a')).toString(), 'abc');
    await store.delete('a');
    await failsWith('object-not-found', store.get('a'));
  });

  it('reports what the store reports, and caches no failure', async () => {
    const { inner, store } = await open({});
    await assert.rejects(store.get('a'), CofferError);
    await inner.put('a', Buffer.from('abc'));
    assert.equal((await store.get('a')).toString(), 'abc');
    await failsWith('range-invalid', store.get('a', { offset: 2, length: 2 }));
  });
});

async function open(options: { cache?: ObjectStore; names?: (name: string) => boolean }) {
  const inner = metered(openMemoryStore());
  const store = await cached(inner, { cache: openMemoryStore(), ...OPTIONS, ...options });
  return { inner, store };
}
