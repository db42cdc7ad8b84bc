import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError } from '@coffer/base';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { overridden } from '@coffer/storage/testing/overridden.ts';
import { initWithRecoveryKey, type KeyRotation, rotateRecoveryKey } from './key-rotation.ts';
import { readKeySlots } from './keys.ts';
import { onPut, TestRepository } from './testing/test-repository.ts';

const PASSPHRASE = 'a passphrase of a test';

/** What happens to the key, in its order. */
function keeper(steps: string[]): KeyRotation {
  return {
    keep: () => void steps.push('keep'),
    forget: () => void steps.push('forget'),
    opens: () => void steps.push('opens'),
  };
}

function noting(store: ObjectStore, steps: string[]): ObjectStore {
  const remove: ObjectStore['delete'] = async (name) => {
    steps.push('delete');
    await store.delete(name);
  };
  return onPut(overridden(store, { delete: remove }), () => void steps.push('put'));
}

function failing(code: 'store-full'): ObjectStore['put'] {
  return async () => {
    throw new CofferError(code);
  };
}

test('a recovery key is kept before it opens, and opens before earlier ones go', async () => {
  await using test = await TestRepository.create();
  const steps: string[] = [];
  const repository = await test.host({ store: noting(test.store, steps) });
  const first = await rotateRecoveryKey(repository, keeper(steps));
  assert.deepEqual(first.earlier, []);
  assert.deepEqual(steps.splice(0), ['keep', 'put', 'opens']);
  const second = await rotateRecoveryKey(repository, keeper(steps));
  assert.deepEqual(second.earlier, [first.slot.slot]);
  assert.deepEqual(steps, ['keep', 'put', 'opens', 'delete']);
  const slots = (await readKeySlots(repository)).map(({ slot }) => slot);
  assert.deepEqual(slots, [second.slot.slot]);
  await (await test.lockedHost()).unlock(second.recoveryKey);
});

test('a recovery key that came to open nothing is forgotten, and the earlier one stays', async () => {
  await using test = await TestRepository.create();
  const { recoveryKey } = await rotateRecoveryKey(await test.host(), keeper([]));
  const steps: string[] = [];
  const full = overridden(test.store, { put: failing('store-full') });
  const rotation = rotateRecoveryKey(await test.host({ store: full }), keeper(steps));
  await assert.rejects(rotation, { code: 'store-full' });
  assert.deepEqual(steps, ['keep', 'forget']);
  await (await test.lockedHost()).unlock(recoveryKey);
});

test('the key of a new repository is kept first, and forgotten where another one is there', async () => {
  await using test = await TestRepository.create();
  const { clock, random } = test;
  const steps: string[] = [];
  const init = async (store: ObjectStore): Promise<unknown> =>
    await initWithRecoveryKey({ store, clock, random, passphrase: PASSPHRASE }, keeper(steps));
  await init(noting(openMemoryStore({ clock }), steps));
  assert.deepEqual(new Set(steps.splice(1)), new Set(['put']));
  assert.deepEqual(steps.splice(0), ['keep']);
  await assert.rejects(init(test.store), { code: 'repository-exists' });
  assert.deepEqual(steps.splice(0), ['keep', 'forget']);
  // The config may be there, though nobody was told so.
  const full = overridden(openMemoryStore({ clock }), { put: failing('store-full') });
  await assert.rejects(init(full), { code: 'store-full' });
  assert.deepEqual(steps, ['keep']);
});
