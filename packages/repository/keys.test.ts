import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { newConfig } from './config.ts';
import {
  addKeySlot,
  type KeySlot,
  newKeySlot,
  readKeySlots,
  removeKeySlot,
  removeSlotsOfOthers,
  type RepositoryKeys,
  unlockKeys,
  writeKeySlot,
} from './keys.ts';
import { generateRecoveryKey } from './recovery-key.ts';
import { generateKeyPair } from './sealed-box.ts';
import { namesOf, onGet } from './testing/test-repository.ts';

const random = seededRandom(5);
const keys = newKeys();
const config = newConfig({ ...keys, createdAt: 1, random });
const PASSPHRASE = 'Über sechzehn Zeichen';

function newKeys(): RepositoryKeys {
  return { ...generateKeyPair(random), hashKey: random.bytes(32) };
}

async function slotOf(secret: string, kind: KeySlot['kind'], of = keys): Promise<KeySlot> {
  return await newKeySlot({ keys: of, kind, secret, label: 'test', createdAt: 1 });
}

const fails =
  (code: Parameters<typeof isCofferError>[1]) =>
  (error: unknown): boolean =>
    isCofferError(error, code);

async function storeWith(...slots: readonly KeySlot[]): Promise<ObjectStore> {
  const store = openMemoryStore();
  for (const slot of slots) await writeKeySlot(store, slot);
  return store;
}

test('each of several slots opens to the same keys', async () => {
  const recoveryKey = generateRecoveryKey(random);
  const store = await storeWith(
    await slotOf(PASSPHRASE, 'passphrase'),
    await slotOf('another passphrase', 'passphrase'),
    await slotOf(recoveryKey, 'recovery'),
  );
  // An umlaut may be one character or two: the passphrase is the same.
  const secrets = [PASSPHRASE.normalize('NFD'), 'another passphrase', recoveryKey.toLowerCase()];
  for (const secret of secrets) assert.deepEqual(await unlockKeys({ store, config }, secret), keys);
  const wrong = unlockKeys({ store, config }, 'no such passphrase');
  await assert.rejects(wrong, fails('passphrase-wrong'));
});

test('unlocking reads the slot of its secret alone, whatever else lies there', async () => {
  const own = await slotOf(PASSPHRASE, 'passphrase');
  const store = await storeWith(own);
  // Forged well, and junk.
  for (let number = 0; number < 2000; number++) {
    const slot = random.bytes(8).toString('hex');
    await writeKeySlot(store, { ...own, slot, wrapped: random.bytes(80).toString('hex') });
  }
  await store.put(`keys/${'0'.repeat(16)}`, Buffer.from('damaged'));
  const read: string[] = [];
  const watched = onGet(store, (name) => read.push(name));
  assert.deepEqual(await unlockKeys({ store: watched, config }, PASSPHRASE), keys);
  assert.deepEqual(read, [`keys/${own.slot}`]);
});

test('a slot of other keys opens nothing, though its passphrase is right', async () => {
  const foreign = await slotOf(PASSPHRASE, 'passphrase', newKeys());
  const folder = { store: await storeWith(foreign), config };
  await assert.rejects(unlockKeys(folder, PASSPHRASE), fails('passphrase-wrong'));
  await writeKeySlot(folder.store, await slotOf(PASSPHRASE, 'passphrase'));
  assert.deepEqual(await unlockKeys(folder, PASSPHRASE), keys);
});

test('a slot that was altered opens nothing, and is told as damaged', async () => {
  const secret = generateRecoveryKey(seededRandom(9));
  const slot = await slotOf(secret, 'recovery');
  for (let at = 0; at < slot.wrapped.length; at += 7) {
    const digit = slot.wrapped[at] === '0' ? '1' : '0';
    const wrapped = slot.wrapped.slice(0, at) + digit + slot.wrapped.slice(at + 1);
    const store = await storeWith({ ...slot, wrapped });
    await assert.rejects(unlockKeys({ store, config }, secret), fails('object-damaged'));
  }
});

test('a passphrase has one slot', async () => {
  const slot = await slotOf(PASSPHRASE, 'passphrase');
  const store = await storeWith(slot);
  const again = addKeySlot(store, { ...slot, label: 'again' });
  await assert.rejects(again, fails('key-slot-exists'));
  assert.deepEqual(await readKeySlots({ store, config }), [slot]);
});

test('a passphrase has at least 16 characters, counted as people count', async () => {
  await assert.rejects(slotOf('fifteen letters', 'passphrase'), fails('passphrase-weak'));
  await assert.rejects(slotOf('🐉'.repeat(8), 'passphrase'), fails('passphrase-weak'));
});

test('the last slot stays, and a slot is named by enough of its id', async () => {
  const store = openMemoryStore();
  const folder = { store, config };
  const first = await slotOf(generateRecoveryKey(random), 'recovery');
  const second = await slotOf(generateRecoveryKey(random), 'recovery');
  await writeKeySlot(store, first);
  // Neither a damaged slot nor one of other keys opens the repository when the last one is gone.
  await store.put(`keys/${'ff'.repeat(8)}`, Buffer.from('damaged'));
  await writeKeySlot(store, await slotOf(PASSPHRASE, 'passphrase', newKeys()));
  await assert.rejects(removeKeySlot(folder, first.slot), fails('key-slot-last'));
  await writeKeySlot(store, second);
  await assert.rejects(removeKeySlot(folder, first.slot.slice(0, 3)), fails('key-slot-not-found'));
  await assert.rejects(removeKeySlot(folder, 'ffff'), fails('key-slot-not-found'));
  await removeKeySlot(folder, first.slot.slice(0, 6));
  assert.deepEqual(await readKeySlots(folder, () => {}), [second]);
});

test('a damaged slot is told by its name, and the others open', async () => {
  const store = openMemoryStore();
  const slot = await slotOf(PASSPHRASE, 'passphrase');
  await writeKeySlot(store, slot);
  const damaged = `keys/${'00'.repeat(8)}`;
  await store.put(damaged, Buffer.from('damaged'));
  await assert.rejects(readKeySlots({ store, config }), fails('object-damaged'));
  const told: string[] = [];
  const slots = await readKeySlots({ store, config }, (_, name) => told.push(name));
  assert.deepEqual([slots, told], [[slot], [damaged]]);
  assert.deepEqual(await unlockKeys({ store, config }, PASSPHRASE), keys);
});

test('slots are known by the names of their objects: a swap takes the right one away', async () => {
  const store = openMemoryStore();
  const [first, second] = [
    await slotOf(PASSPHRASE, 'passphrase'),
    await slotOf('x'.repeat(16), 'passphrase'),
  ];
  await writeKeySlot(store, { ...first, slot: second.slot });
  await writeKeySlot(store, { ...second, slot: first.slot });
  const [found] = (await readKeySlots({ store, config })).filter(
    ({ wrapped }) => wrapped === first.wrapped,
  );
  await removeKeySlot({ store, config }, found!.slot);
  const left = await readKeySlots({ store, config });
  assert.deepEqual(
    left.map(({ wrapped }) => wrapped),
    [second.wrapped],
  );
});

test('slots of other keys are not seen, and are removed when there is a config', async () => {
  const store = openMemoryStore();
  const own = await slotOf(PASSPHRASE, 'passphrase');
  for (const slot of [own, await slotOf(PASSPHRASE, 'passphrase', newKeys())]) {
    await writeKeySlot(store, slot);
  }
  assert.deepEqual(await readKeySlots({ store, config }), [own]);
  await removeSlotsOfOthers({ store, config });
  assert.deepEqual(await namesOf(store, 'keys/'), [`keys/${own.slot}`]);
});
