/** Stores that lose what they had: before a run, and in the middle of one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { copyPoints } from '../copy/copy.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';
import { decodeIndexObject, encodeIndexObject } from '../index/index-codec.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import { repairRepository } from '../repair/repair.ts';
import {
  chunkRange,
  getWhole,
  namesOf,
  onDelete,
  protectDisk,
  readDisk,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';

async function deleteAll(store: ObjectStore, prefix: string): Promise<void> {
  for (const name of await namesOf(store, prefix)) await store.delete(name);
}

/** What the store held, and a way to set it back to that. */
async function snapshotOf(store: ObjectStore): Promise<() => Promise<void>> {
  const before = new Map<string, Buffer>();
  for (const name of await namesOf(store, '')) before.set(name, await getWhole(store, name));
  return async () => {
    for (const name of await namesOf(store, '')) if (!before.has(name)) await store.delete(name);
    for (const [name, bytes] of before) {
      if (!(await store.stat(name))) await store.put(name, bytes);
    }
  };
}

/** Every wasteful pack is emptied. */
const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };

function isRolledBack(error: unknown): boolean {
  return isCofferError(error, 'store-rolled-back');
}

for (const cache of ['warm', 'cold'] as const) {
  test(`a backup stores again what lies in packs that are gone, with a ${cache} cache`, async () => {
    await using test = await TestRepository.create();
    const repository = await test.host();
    await protectDisk(repository, chunkRange(0, 20));
    await deleteAll(test.store, 'packs/');
    const host = cache === 'warm' ? repository : await test.host();
    const point = await protectDisk(host, chunkRange(0, 20), { item: 'another' });
    for (const reader of [host, await test.host()]) {
      assert.deepEqual(await readDisk(reader, point), chunkRange(0, 20));
    }
  });
}

test('a pack that was cut short is not relied on', async () => {
  await using test = await TestRepository.create();
  await protectDisk(await test.host(), chunkRange(0, 20));
  for (const name of await namesOf(test.store, 'packs/')) {
    const bytes = await getWhole(test.store, name);
    await test.store.delete(name);
    await test.store.put(name, bytes.subarray(0, -1));
  }
  const point = await protectDisk(await test.host(), chunkRange(0, 20), { item: 'another' });
  assert.deepEqual(await readDisk(await test.host(), point), chunkRange(0, 20));
});

test('a copy stores again what lies in packs that the target lost, though it has a base', async () => {
  await using test = await TestRepository.create();
  await using other = await TestRepository.create({ keys: test.keys });
  const source = await test.host();
  await protectDisk(source, chunkRange(0, 20));
  const isWanted = (): boolean => true;
  await copyPoints({ source, target: await other.host(), isWanted });
  await deleteAll(other.store, 'packs/');
  const second = await protectDisk(source, chunkRange(0, 21), {
    takenAt: test.clock.now() + 1,
  });
  await copyPoints({ source, target: await other.host(), isWanted });
  const reader = await other.host();
  const copied = (await reader.points()).find(({ id }) => id === second.id);
  assert.deepEqual(await readDisk(reader, copied as RecoveryPoint), chunkRange(0, 21));
});

test('a store that is rolled back in the middle of a run makes no point', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const first = await protectDisk(repository, chunkRange(0, 5));
  const rollBack = await snapshotOf(test.store);
  const session = await repository.beginSession();
  const point = await writeDisk(repository, session, chunkRange(0, 20));
  await session.writer.flush();
  await rollBack();
  await assert.rejects(session.commit([point]), isRolledBack);
  await session.abandon();
  const points = await (await test.host()).points();
  assert.deepEqual(
    points.map(({ id }) => id),
    [first.id],
  );
});

for (const lost of ['packs/', 'index/', 'sessions/']) {
  test(`a store that loses ${lost} of a run makes no point`, async () => {
    await using test = await TestRepository.create();
    const repository = await test.host();
    const session = await repository.beginSession();
    const point = await writeDisk(repository, session, chunkRange(0, 20));
    await session.writer.flush();
    await deleteAll(test.store, lost);
    await assert.rejects(session.commit([point]), isRolledBack);
    assert.deepEqual(await repository.points(), []);
  });
}

test('a pack that was found at the beginning and is gone at the end makes no point', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  await protectDisk(repository, chunkRange(0, 20));
  const found = new Set(await namesOf(test.store, 'packs/'));
  const session = await repository.beginSession();
  const point = await writeDisk(repository, session, chunkRange(10, 30), { item: 'another' });
  for (const name of found) await test.store.delete(name);
  await assert.rejects(session.commit([point]), isRolledBack);
});

test('a pack that was found and that no index object names any more makes no point', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  await protectDisk(repository, chunkRange(0, 20));
  const found = await namesOf(test.store, 'index/');
  const session = await repository.beginSession();
  const point = await writeDisk(repository, session, chunkRange(10, 30), { item: 'another' });
  for (const name of found) await test.store.delete(name);
  await assert.rejects(session.commit([point]), isRolledBack);
});

test('a pack that was found, and that another index object names by now, is relied on', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  await protectDisk(repository, chunkRange(0, 20));
  const session = await repository.beginSession();
  const chunks = chunkRange(10, 30);
  const point = await writeDisk(repository, session, chunks, { item: 'another' });
  const [name] = await namesOf(test.store, 'index/');
  const [pack] = decodeIndexObject({ name: name!, bytes: await getWhole(test.store, name!) });
  const other = encodeIndexObject([pack!, pack!], 0);
  await test.store.put(other.name, other.bytes);
  await test.store.delete(name!);
  await session.commit([point]);
  const reader = await test.host();
  const made = (await reader.points()).find(({ id }) => id === point.id);
  assert.deepEqual(await readDisk(reader, made as RecoveryPoint), chunks);
});

/** What is deleted first when the store is set back, and what may not be deleted after that. */
const DELETED: readonly [first: string, later: string][] = [
  ['index/', 'packs/'],
  ['packs/', 'gc/'],
];

for (const [first, later] of DELETED) {
  test(`a collection deletes no ${later} when the store is set back under it`, async () => {
    await using test = await TestRepository.create();
    const repository = await test.host();
    await protectDisk(repository, chunkRange(40, 50));
    const garbage = await protectDisk(repository, chunkRange(0, 20));
    for (const each of [garbage, await protectDisk(repository, chunkRange(60, 70))]) {
      await repository.removePoint(each);
      if (each === garbage) await collectGarbage({ repository, plan: EAGER });
    }
    // The garbage of the second collection is a point again.
    const point = await protectDisk(repository, chunkRange(60, 70));
    const setBack = await snapshotOf(test.store);
    await repository.removePoint(point);
    let deletedLater = 0;
    let isSetBack = false;
    const store = onDelete(test.store, async (name) => {
      if (isSetBack && name.startsWith(later)) deletedLater++;
      if (isSetBack || !name.startsWith(first)) return;
      isSetBack = true;
      await setBack();
    });
    const collecting = collectGarbage({ repository: await test.host({ store }), plan: EAGER });
    await assert.rejects(collecting, isRolledBack);
    assert.deepEqual([isSetBack, deletedLater], [true, 0]);
    if (first === 'packs/') return;
    await repairRepository({ repository: await test.host(), rebuildIndex: true });
    assert.deepEqual(await readDisk(await test.host(), point), chunkRange(60, 70));
  });
}
