import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CofferError, type ErrorCode, isCofferError, seededRandom } from '@coffer/base';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { newConfig, type RepositoryConfig } from './config.ts';
import { configDamages, readConfig, repairConfig, writeConfig } from './config-objects.ts';
import { readKeySlots } from './keys.ts';
import { generateRecoveryKey } from './recovery-key.ts';
import { initRepository } from './init.ts';
import { generateKeyPair } from './sealed-box.ts';
import { getWhole, namesOf, onPut, stillClock } from './testing/test-repository.ts';

const random = seededRandom(1);
const PASSPHRASE = 'a passphrase that is long enough';
const OBJECTS = ['config', 'config-copy'] as const;
const TRUE = { isConfigTrue: true };

function anyConfig(): RepositoryConfig {
  return newConfig({ ...generateKeyPair(random), hashKey: random.bytes(32), createdAt: 1, random });
}

/** A repository in use: its index has an object. */
async function storeInUse(config = anyConfig()): Promise<ObjectStore> {
  const store = openMemoryStore();
  await writeConfig(store, config);
  await store.put('index/00000000-00', Buffer.from('x'));
  return store;
}

async function replace(store: ObjectStore, name: string, bytes?: Buffer): Promise<void> {
  await store.delete(name);
  if (bytes) await store.put(name, bytes);
}

async function flip(store: ObjectStore, name: string): Promise<void> {
  const bytes = Buffer.from(await getWhole(store, name));
  bytes[40]! ^= 1;
  await replace(store, name, bytes);
}

const fails =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    isCofferError(error, code);

async function init(store: ObjectStore): Promise<RepositoryConfig> {
  const recoveryKey = generateRecoveryKey(random);
  return await initRepository({
    store,
    clock: stillClock(),
    random,
    passphrase: PASSPHRASE,
    recoveryKey,
  });
}

const namesIn = (damages: readonly CofferError[]): unknown[] =>
  damages.map(({ details }) => details['object']);

test('either of the two objects may be damaged or lost: it is read, told, and repaired', async () => {
  const config = anyConfig();
  for (const name of OBJECTS) {
    for (const harm of [flip, replace]) {
      const store = await storeInUse(config);
      await harm(store, name);
      assert.deepEqual(await readConfig(store), config);
      assert.deepEqual(namesIn(await configDamages(store)), [name]);
      assert.deepEqual(namesIn(await repairConfig(store, TRUE)), [name]);
      assert.deepEqual(await configDamages(store), []);
      assert.deepEqual(await readConfig(store), config);
      assert.deepEqual(await repairConfig(store, TRUE), []);
    }
  }
});

test('when both are damaged, the config is told and nothing is written', async () => {
  const store = await storeInUse();
  for (const name of OBJECTS) await flip(store, name);
  await assert.rejects(readConfig(store), fails('object-damaged'));
  assert.deepEqual(namesIn(await configDamages(store)), [...OBJECTS]);
  assert.deepEqual(await repairConfig(store, TRUE), []);
});

test('of two that differ the config counts, and only who has the keys replaces the copy', async () => {
  const config = anyConfig();
  const store = await storeInUse(config);
  const other = openMemoryStore();
  await writeConfig(other, anyConfig());
  await replace(store, 'config-copy', await getWhole(other, 'config'));
  assert.deepEqual(await readConfig(store), config);
  assert.deepEqual(namesIn(await configDamages(store)), ['config-copy']);
  assert.deepEqual(await repairConfig(store, { isConfigTrue: false }), []);
  assert.deepEqual(namesIn(await repairConfig(store, TRUE)), ['config-copy']);
  assert.deepEqual(await configDamages(store), []);
});

test('a store with the work of a repository gets no other config, though its own is lost', async () => {
  const store = await storeInUse();
  for (const name of OBJECTS) await store.delete(name);
  await assert.rejects(init(store), fails('repository-exists'));
  assert.deepEqual(await namesOf(store, ''), ['index/00000000-00']);
  // It is not taken for no repository either.
  await assert.rejects(readConfig(store), fails('object-damaged'));
});

test('an init that is killed leaves no repository or a working one, and the next one works', async () => {
  for (let putsLeft = 0; putsLeft < 4; putsLeft++) {
    const store = openMemoryStore();
    let left = putsLeft;
    const dying = onPut(store, () => {
      if (left-- === 0) throw new Error('killed');
    });
    await assert.rejects(init(dying), /killed/);
    await assert.rejects(readConfig(store), fails('repository-not-found'));
    const config = await init(store);
    assert.deepEqual(await readConfig(store), config);
    assert.deepEqual(await configDamages(store), []);
    const slots = await readKeySlots({ store, config });
    assert.equal(slots.length, 2);
    assert.equal((await namesOf(store, 'keys/')).length, 2, 'slots of the killed one are gone');
  }
});

test('of two that init at once, one wins, and its copy and slots are the ones that stay', async () => {
  for (const step of ['keys/', 'config-copy', 'config']) {
    const store = openMemoryStore();
    let winner: RepositoryConfig | undefined;
    let isFirst = true;
    const overtaken = onPut(store, async (name) => {
      if (!isFirst || !name.startsWith(step)) return;
      isFirst = false;
      winner = await init(store);
    });
    await assert.rejects(init(overtaken), fails('repository-exists'));
    const config = await readConfig(store);
    assert.deepEqual(config, winner);
    assert.deepEqual(await configDamages(store), []);
    assert.equal((await readKeySlots({ store, config })).length, 2);
    assert.equal((await namesOf(store, 'keys/')).length, 2);
  }
});

test('a second init changes nothing', async () => {
  const store = openMemoryStore();
  await init(store);
  const before = await namesOf(store, '');
  await assert.rejects(init(store), fails('repository-exists'));
  assert.deepEqual(await namesOf(store, ''), before);
});
