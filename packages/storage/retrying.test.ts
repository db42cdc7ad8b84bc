import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CofferError, type ErrorCode, seededRandom } from '@coffer/base';
import { openMemoryStore } from './memory.ts';
import type { ObjectStore } from './object-store.ts';
import { retrying } from './retrying.ts';
import { objectStoreContract } from './testing/contract.ts';
import { ANY_SIZE, failsWith, listAll } from './testing/expectations.ts';
import { faulty } from './testing/faulty.ts';
import { manualClock } from './testing/manual-clock.ts';
import { objectLockContract } from './testing/lock-contract.ts';

const NAME = 'packs/a';
const random = seededRandom(1);

objectLockContract('retrying', async () => {
  const clock = manualClock(Date.now());
  const inner = openMemoryStore({ clock, objectLock: true });
  return retrying(inner, { attemptsMax: 2, delayMs: 10, clock, random });
});

objectStoreContract('retrying over a faulty store', async () => {
  const clock = manualClock(Date.now());
  const errors = { errorBefore: 0.1, errorAfter: 0.1, delayMsMax: 5 };
  const memory = openMemoryStore({ clock });
  const store = faulty(memory, { ...errors, clock, random });
  // Streams are not tried again, so they are to meet no faults.
  store.putStream = memory.putStream.bind(memory);
  return retrying(store, { attemptsMax: 20, delayMs: 10, clock, random });
});

describe('retrying', () => {
  it('tries as often as it may, with delays that grow and have a bound', async () => {
    const { store, clock, counts } = failing('get', ['store-unavailable'], 100);
    await failsWith('store-unavailable', store.get(NAME, ANY_SIZE));
    assert.equal(counts.calls, 6);
    assert.equal(clock.sleeps.length, 5);
    clock.sleeps.forEach((ms, index) => assert.ok(ms <= Math.min(1000, 100 * 2 ** index), `${ms}`));
  });

  it('succeeds when the store comes back', async () => {
    const { store, memory } = failing('get', ['store-unavailable'], 3);
    await memory.put(NAME, Buffer.from('a'));
    assert.equal((await store.get(NAME, ANY_SIZE)).toString(), 'a');
  });

  it('does not try again what cannot pass', async () => {
    for (const code of ['store-full', 'store-denied', 'object-not-found'] as const) {
      const { store, counts } = failing('get', [code], 100);
      await failsWith(code, store.get(NAME, ANY_SIZE));
      assert.equal(counts.calls, 1, code);
    }
  });

  it('takes an object that its own lost attempt has made for its success', async () => {
    const memory = openMemoryStore();
    const store = answerLost(memory);
    await store.put(NAME, Buffer.from('mine'));
    assert.equal((await memory.get(NAME, ANY_SIZE)).toString(), 'mine');
  });

  it('does not take the object of another for its success', async () => {
    for (const other of ['their', 'much longer']) {
      const { store, memory } = failing('put', ['store-unavailable'], 1);
      await memory.put(NAME, Buffer.from(other));
      await failsWith('object-exists', store.put(NAME, Buffer.from('mine!')));
    }
  });

  it('does not take a deletion in the midst of a put for an answer to it', async () => {
    const { store, memory } = failing('put', ['store-unavailable'], 1);
    await memory.put(NAME, Buffer.from('their'));
    const get = memory.get.bind(memory);
    memory.get = async (name, options) => {
      await memory.delete(name);
      return await get(name, options);
    };
    await failsWith('object-exists', store.put(NAME, Buffer.from('mine!')));
  });

  it('says at once that an object exists', async () => {
    const memory = openMemoryStore();
    await memory.put(NAME, Buffer.from('mine'));
    const { store } = wrap(memory);
    await failsWith('object-exists', store.put(NAME, Buffer.from('mine')));
  });

  it('goes on with a list where it broke', async () => {
    const memory = openMemoryStore();
    for (let index = 0; index < 200; index++) await memory.put(`x/${index}`, Buffer.alloc(1));
    const clock = manualClock();
    const broken = faulty(memory, { errorBefore: 0.2, errorAfter: 0.3, clock, random });
    const names = (await listAll(wrap(broken).store, '')).map((info) => info.name);
    assert.deepEqual(
      names,
      (await listAll(memory, '')).map((info) => info.name),
    );
  });

  it('stops when it is told to, also while it waits', async () => {
    const controller = new AbortController();
    const reason = new Error('told to stop');
    const { store, counts } = failing('get', ['store-unavailable'], 100, () => {
      controller.abort(reason);
    });
    const call = store.get(NAME, { ...ANY_SIZE, signal: controller.signal });
    await assert.rejects(call, (error) => error === reason);
    assert.equal(counts.calls, 1);
  });
});

function wrap(inner: ObjectStore) {
  const clock = manualClock();
  const options = { attemptsMax: 6, delayMs: 100, delayMsMax: 1000, clock, random };
  return { store: retrying(inner, options), clock };
}

/** The first `times` calls of a method fail, with these codes in turn. */
function failing(
  method: 'get' | 'put',
  codes: readonly ErrorCode[],
  times: number,
  onCall: () => void = () => undefined,
) {
  const memory = openMemoryStore();
  const counts = { calls: 0 };
  const inner = new Proxy(memory, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        if (key !== method) return Reflect.apply(value, target, args);
        onCall();
        if (counts.calls++ >= times) return Reflect.apply(value, target, args);
        return Promise.reject(new CofferError(codes[counts.calls % codes.length]!));
      };
    },
  });
  return { ...wrap(inner), memory, counts };
}

/** The first put takes effect, and its answer is lost. */
function answerLost(memory: ObjectStore): ObjectStore {
  const clock = manualClock();
  const lossy = faulty(memory, { errorAfter: 0.999, clock, random: seededRandom(3) });
  const inner: ObjectStore = { ...bound(memory), put: (...args) => lossy.put(...args) };
  return wrap(inner).store;
}

/** A store as a plain object, so that single methods can be replaced. */
function bound(store: ObjectStore): ObjectStore {
  return {
    location: store.location,
    capabilities: store.capabilities,
    put: (...args) => store.put(...args),
    get: (...args) => store.get(...args),
    putStream: (...args) => store.putStream(...args),
    protect: (...args) => store.protect(...args),
    getRange: (...args) => store.getRange(...args),
    getInto: (...args) => store.getInto(...args),
    stat: (...args) => store.stat(...args),
    list: (...args) => store.list(...args),
    delete: (...args) => store.delete(...args),
    removeLeftovers: (...args) => store.removeLeftovers(...args),
    close: () => store.close(),
  };
}
