import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { overridden } from '@coffer/storage/testing/overridden.ts';
import { CONFIG_COPY_NAME } from './config-objects.ts';
import { repositoryHealth } from './health.ts';
import { addKeySlot, newKeySlot } from './keys.ts';
import { generateRecoveryKey } from './recovery-key.ts';
import { LEASE_MS } from './session/session.ts';
import { chunkRange, namesOf, protectDisk, TestRepository } from './testing/test-repository.ts';

/** Codes by what was looked at. */
async function healthOf(
  repository: TestRepository,
  options: { readonly secret?: string; readonly store?: ObjectStore } = {},
): Promise<Record<string, string>> {
  const { secret, store = repository.store } = options;
  const health = await repositoryHealth(await repository.lockedHost({ store }), () => secret);
  return Object.fromEntries(health.map(({ subject, code }) => [subject, code]));
}

async function addSlot({ store, keys, random }: TestRepository): Promise<string> {
  const secret = generateRecoveryKey(random);
  await addKeySlot(
    store,
    await newKeySlot({ keys, kind: 'recovery', secret, label: '', createdAt: 1 }),
  );
  return secret;
}

test('a repository that is well is found well, and nothing is left in it', async () => {
  await using repository = await TestRepository.create();
  await protectDisk(await repository.host(), chunkRange(0, 3));
  const secret = await addSlot(repository);
  const before = await namesOf(repository.store, '');
  assert.deepEqual(await healthOf(repository, { secret }), {
    config: 'config-intact',
    'key slots': 'key-slots-intact',
    passphrase: 'secret-opens',
    'index cache': 'index-in-step',
    clock: 'clock-in-step',
    sessions: 'sessions-alive',
    'garbage collection': 'collections-finished',
  });
  assert.deepEqual(await namesOf(repository.store, ''), before);
});

test('each thing that is ill is told, and keeps nobody from looking at the others', async () => {
  await using repository = await TestRepository.create();
  const host = await repository.host();
  await protectDisk(host, chunkRange(0, 3));
  const { store, clock } = repository;
  const found = await healthOf(repository);
  assert.equal(found['key slots'], 'recovery-key-missing');
  assert.equal(found['passphrase'], 'secret-not-given');
  const wrong = await healthOf(repository, { secret: 'not the passphrase at all' });
  assert.equal(wrong['passphrase'], 'passphrase-wrong');
  await host.beginSession();
  clock.advance(LEASE_MS + 1);
  await store.delete(CONFIG_COPY_NAME);
  for (const name of await namesOf(store, 'index/')) await replace(store, name);
  await addSlot(repository);
  for (const name of await namesOf(store, 'keys/')) await replace(store, name);
  const ill = await healthOf(repository);
  assert.equal(ill['config'], 'config-copy-damaged');
  assert.equal(ill['key slots'], 'key-slots-damaged');
  assert.equal(ill['index cache'], 'index-objects-damaged');
  assert.equal(ill['sessions'], 'sessions-silent');
  assert.equal(ill['garbage collection'], 'collections-finished');
});

async function replace(store: ObjectStore, name: string): Promise<void> {
  await store.delete(name);
  await store.put(name, Buffer.from('damaged'));
}

test('the clock of the store is compared, where it can be seen', async () => {
  await using repository = await TestRepository.create();
  const withPut = async (put: ObjectStore['put']): Promise<string | undefined> =>
    (await healthOf(repository, { store: overridden(repository.store, { put }) }))['clock'];
  const slow: ObjectStore['put'] = async (...what) => {
    await repository.store.put(...what);
    repository.clock.advance(-10 * 60_000);
  };
  assert.equal(await withPut(slow), 'clock-differs');
  const refuses: ObjectStore['put'] = async () => {
    throw new CofferError('store-read-only');
  };
  assert.equal(await withPut(refuses), 'clock-unseen');
  const fails: ObjectStore['put'] = async () => {
    throw new CofferError('store-full');
  };
  assert.equal(await withPut(fails), 'store-full');
});
