import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CofferError, seededRandom } from '@coffer/base';
import { createOnly } from './create-only.ts';
import { openMemoryStore } from './memory.ts';
import type { ObjectStore } from './object-store.ts';
import { retrying } from './retrying.ts';
import { objectStoreContract } from './testing/contract.ts';
import { failsWith } from './testing/expectations.ts';
import { faulty } from './testing/faulty.ts';
import { objectLockContract } from './testing/lock-contract.ts';
import { manualClock } from './testing/manual-clock.ts';
import { overridden } from './testing/overridden.ts';

objectStoreContract('create-only', async () => createOnly(openMemoryStore()));
objectLockContract('create-only', async () => createOnly(openMemoryStore({ objectLock: true })));

objectStoreContract('create-only, tried again, over a faulty store', async () => {
  const [clock, random] = [manualClock(Date.now()), seededRandom(1)];
  const memory = openMemoryStore({ clock });
  const store = faulty(memory, { errorBefore: 0.1, errorAfter: 0.1, clock, random });
  store.putStream = memory.putStream.bind(memory);
  return retrying(createOnly(store), { attemptsMax: 20, delayMs: 10, clock, random });
});

const SMALL = Buffer.from('small');
const LARGE = Buffer.alloc(1024 * 1024);

describe('a store that has to show that it creates only', () => {
  it('is asked once', async () => {
    const { store, puts } = counted(openMemoryStore());
    for (const name of ['a', 'b', 'c']) await store.put(name, SMALL);
    assert.deepEqual(puts, ['a', 'a', 'b', 'c']);
  });

  it('is asked with a small object only', async () => {
    const { store, puts } = counted(openMemoryStore());
    await store.put('a', LARGE);
    await store.put('b', SMALL);
    assert.deepEqual(puts, ['a', 'b', 'b']);
  });

  it('has shown it by refusing a put', async () => {
    const memory = openMemoryStore();
    await memory.put('a', SMALL);
    const { store, puts } = counted(memory);
    await failsWith('object-exists', store.put('a', SMALL));
    await store.put('b', SMALL);
    assert.deepEqual(puts, ['a', 'b']);
  });

  it('is given up while it replaces, with what was put left as it was', async () => {
    const { store, replaced } = replacing();
    await failsWith('store-unsupported', store.put('a', SMALL));
    await failsWith('store-unsupported', store.put('b', SMALL));
    assert.deepEqual(
      replaced,
      new Map([
        ['a', SMALL],
        ['b', SMALL],
      ]),
    );
  });

  it('is asked again where it did not answer', async () => {
    const memory = openMemoryStore();
    let putCount = 0;
    const put: ObjectStore['put'] = async (...call) => {
      if (++putCount === 2) throw new CofferError('store-unavailable');
      await memory.put(...call);
    };
    const store = createOnly(overridden(memory, { put }));
    await failsWith('store-unavailable', store.put('a', SMALL));
    await store.put('b', SMALL);
    assert.equal(putCount, 4);
  });
});

function counted(store: ObjectStore): { store: ObjectStore; puts: string[] } {
  const puts: string[] = [];
  const put: ObjectStore['put'] = async (name, bytes, options) => {
    puts.push(name);
    await store.put(name, bytes, options);
  };
  return { store: createOnly(overridden(store, { put })), puts };
}

function replacing(): { store: ObjectStore; replaced: Map<string, Uint8Array> } {
  const replaced = new Map<string, Uint8Array>();
  const put: ObjectStore['put'] = async (name, bytes) => void replaced.set(name, bytes);
  return { store: createOnly(overridden(openMemoryStore(), { put })), replaced };
}
