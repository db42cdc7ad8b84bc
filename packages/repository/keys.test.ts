import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { newConfig } from './config.ts';
import {
  addKeySlot,
  type KeySlot,
  type SealedSlot,
  type SecretSlot,
  newKeySlot,
  newSealedSlot,
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

async function slotOf(secret: string, kind: SecretSlot['kind'], of = keys): Promise<SecretSlot> {
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
  const watched = onGet(store, (name) => void read.push(name));
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

test('a slot is removed with a secret that opens another one, and by enough of its name', async () => {
  const store = openMemoryStore();
  const folder = { store, config };
  const [one, other] = [generateRecoveryKey(random), generateRecoveryKey(random)];
  const first = await slotOf(one, 'recovery');
  const second = await slotOf(other, 'recovery');
  for (const slot of [first, second]) await writeKeySlot(store, slot);
  await store.put(`keys/${'ff'.repeat(8)}`, Buffer.from('damaged'));
  const remove = async (slot: string, secret: string): Promise<string> =>
    await removeKeySlot(folder, slot, secret);
  await assert.rejects(remove(first.slot, one), fails('key-slot-last'));
  await assert.rejects(remove(first.slot, PASSPHRASE), fails('passphrase-wrong'));
  await assert.rejects(remove(first.slot.slice(0, 3), other), fails('key-slot-not-found'));
  await assert.rejects(remove('ffff', other), fails('key-slot-not-found'));
  assert.equal(await remove(first.slot.slice(0, 6), other), first.slot);
  assert.deepEqual(await readKeySlots(folder, () => {}), [second]);
});

test('forged slots are no ways in: the one that opens stays', async () => {
  const own = generateRecoveryKey(random);
  const slot = await slotOf(own, 'recovery');
  const store = await storeWith(slot);
  // By their looks they are of this repository.
  for (let number = 0; number < 20; number++) {
    const forged = {
      slot: random.bytes(8).toString('hex'),
      wrapped: random.bytes(80).toString('hex'),
    };
    await writeKeySlot(store, { ...slot, ...forged });
  }
  // One that lies where a passphrase would have its slot.
  const derived = await slotOf(PASSPHRASE, 'passphrase');
  await writeKeySlot(store, { ...derived, wrapped: random.bytes(80).toString('hex') });
  const folder = { store, config };
  await assert.rejects(removeKeySlot(folder, slot.slot, own), fails('key-slot-last'));
  await assert.rejects(removeKeySlot(folder, slot.slot, PASSPHRASE), fails('object-damaged'));
  await removeKeySlot(folder, derived.slot, own);
  assert.deepEqual(await unlockKeys(folder, own), keys);
});

test('of two who remove the slots of each other at once, one fails, and a slot is left', async () => {
  const [one, other] = [generateRecoveryKey(random), generateRecoveryKey(random)];
  const slots = [await slotOf(one, 'recovery'), await slotOf(other, 'recovery')] as const;
  const store = await storeWith(...slots);
  const both = await Promise.allSettled([
    removeKeySlot({ store, config }, slots[0].slot, other),
    removeKeySlot({ store, config }, slots[1].slot, one),
  ]);
  for (const each of both) {
    if (each.status === 'rejected') assert.ok(fails('key-slot-last')(each.reason));
  }
  assert.ok((await readKeySlots({ store, config })).length > 0);
});

function sealedSlotTo(sealedTo: Buffer, of = keys): SealedSlot {
  return newSealedSlot({ keys: of, sealedTo, label: 'service', createdAt: 1, random });
}

test('a sealed slot is made without its key, and opened, listed and removed with it', async () => {
  const [service, custodian] = [generateKeyPair(random), generateKeyPair(random)];
  const slots = [sealedSlotTo(service.publicKey), sealedSlotTo(custodian.publicKey)] as const;
  const store = await storeWith(...slots);
  const folder = { store, config };
  const read: string[] = [];
  const watched = onGet(store, (name) => void read.push(name));
  assert.deepEqual(await unlockKeys({ store: watched, config }, service.privateKey), keys);
  assert.deepEqual(read, [`keys/${slots[0].slot}`]);
  assert.deepEqual(
    (await readKeySlots(folder)).map(({ kind }) => kind),
    ['sealed', 'sealed'],
  );
  const stranger = generateKeyPair(random).privateKey;
  await assert.rejects(unlockKeys(folder, stranger), fails('passphrase-wrong'));
  await assert.rejects(unlockKeys(folder, Buffer.alloc(5)), fails('usage'));
  const again = addKeySlot(store, sealedSlotTo(service.publicKey));
  await assert.rejects(again, fails('key-slot-exists'));
  const itself = removeKeySlot(folder, slots[0].slot, service.privateKey);
  await assert.rejects(itself, fails('key-slot-last'));
  await removeKeySlot(folder, slots[0].slot, custodian.privateKey);
  assert.deepEqual(await readKeySlots(folder), [slots[1]]);
});

test('a sealed slot that was altered, moved or is of other keys opens nothing', async () => {
  const service = generateKeyPair(random);
  const slot = sealedSlotTo(service.publicKey);
  const foreign = sealedSlotTo(service.publicKey, newKeys());
  const digit = slot.wrapped.endsWith('0') ? '1' : '0';
  const wrong: readonly KeySlot[] = [
    { ...slot, wrapped: slot.wrapped.slice(0, -1) + digit },
    { ...foreign, slot: slot.slot },
    { ...slot, wrapped: foreign.wrapped },
    { ...(await slotOf(PASSPHRASE, 'passphrase')), slot: slot.slot },
  ];
  for (const each of wrong) {
    const folder = { store: await storeWith(each), config };
    await assert.rejects(unlockKeys(folder, service.privateKey), fails('object-damaged'));
  }
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
  const third = generateRecoveryKey(random);
  await writeKeySlot(store, await slotOf(third, 'recovery'));
  const [found] = (await readKeySlots({ store, config })).filter(
    ({ wrapped }) => wrapped === first.wrapped,
  );
  await removeKeySlot({ store, config }, found!.slot, third);
  const left = await readKeySlots({ store, config });
  assert.deepEqual(
    left.filter(({ kind }) => kind === 'passphrase').map(({ wrapped }) => wrapped),
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
