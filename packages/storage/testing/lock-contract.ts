/** What a store that can protect objects has to keep, as tests. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { systemClock } from '@coffer/base';
import type { ObjectStore } from '../object-store.ts';
import { ANY_SIZE, failsWith, listAll } from './expectations.ts';

const HOUR_MS = 3_600_000;

export function objectLockContract(name: string, open: () => Promise<ObjectStore>): void {
  describe(`object lock contract: ${name}`, () => {
    let store: ObjectStore;
    before(async () => {
      store = await open();
    });
    after(() => store.close());

    it('says what it can', () => assert.equal(store.capabilities.objectLock, true));
    it('deletes nothing that is protected', () => keepsProtected(store));
    it('never ends a protection earlier', () => neverEndsEarlier(store));
    it('takes other objects as before', () => takesOthers(store));
    it('says that what is to be protected is missing', async () => {
      const until = systemClock.now() + HOUR_MS;
      await failsWith('object-not-found', store.protect('lock-missing/a', until));
    });
  });
}

async function keepsProtected(store: ObjectStore): Promise<void> {
  await store.put('lock/a', Buffer.from('a'));
  await store.protect('lock/a', systemClock.now() + HOUR_MS);
  await failsWith('object-protected', store.delete('lock/a'));
  assert.equal((await store.get('lock/a', ANY_SIZE)).toString(), 'a');
  assert.equal((await listAll(store, 'lock/')).length, 1);
}

async function neverEndsEarlier(store: ObjectStore): Promise<void> {
  await store.put('lock-longer/a', Buffer.from('a'));
  const now = systemClock.now();
  await store.protect('lock-longer/a', now + 2 * HOUR_MS);
  await store.protect('lock-longer/a', now + HOUR_MS);
  await store.protect('lock-longer/a', now + 3 * HOUR_MS);
  await failsWith('object-protected', store.delete('lock-longer/a'));
}

async function takesOthers(store: ObjectStore): Promise<void> {
  await store.put('lock-other/a', Buffer.from('a'));
  await store.delete('lock-other/a');
  assert.deepEqual(await listAll(store, 'lock-other/'), []);
  await store.put('lock-other/a', Buffer.from('b'));
  assert.equal((await store.get('lock-other/a', ANY_SIZE)).toString(), 'b');
}
