/** A sweep names all that survived: it is read once, and not with every listing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import {
  chunkRange,
  getWhole,
  onGet,
  protectDisk,
  readDisk,
  TestRepository,
} from '../testing/test-repository.ts';
import { encodeGcRecord, gcObjectName, readGcState } from './gc-record.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';

async function collected(test: TestRepository): Promise<void> {
  const host = await test.host();
  const kept = await protectDisk(host, chunkRange(0, 10));
  await host.removePoint(await protectDisk(host, chunkRange(20, 30)));
  const plan = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };
  assert.equal((await collectGarbage({ repository: host, plan })).outcome, 'done');
  assert.ok(kept);
}

/** Sweeps that are read whole. */
function countingSweeps(store: ObjectStore): { store: ObjectStore; read: string[] } {
  const read: string[] = [];
  const counted = onGet(store, (name) => {
    if (name.endsWith('-sweep')) read.push(name);
  });
  return { store: counted, read };
}

test('a sweep is read once, by all processes with one cache', async () => {
  await using test = await TestRepository.create();
  await collected(test);
  const { store, read } = countingSweeps(test.store);
  const name = gcObjectName(1, 'sweep');
  const host = await test.host({ store, cache: 'one' });
  for (const _ of [1, 2]) await host.points();
  await host.points({ filter: { item: 'disk' } });
  await protectDisk(host, chunkRange(5, 15));
  assert.deepEqual(read, [name]);
  await host.index.close();
  const next = await test.host({ store, cache: 'one' });
  for (const point of await next.points()) assert.ok(await readDisk(next, point));
  assert.deepEqual(read, [name]);
  await (await test.host({ store, cache: 'other' })).points();
  assert.deepEqual(read, [name, name]);
});

test('the sweep of another collection under the same name is another one', async () => {
  await using test = await TestRepository.create();
  await collected(test);
  const host = await test.host();
  assert.equal((await host.points()).length, 1);
  const name = gcObjectName(1, 'sweep');
  const { sweep } = await readGcState(test.store);
  const before = await getWhole(test.store, name);
  // The store was set back, and a collection of the same number was made anew.
  const other = { ...sweep!, collection: '5'.repeat(32), survivors: ['7'.repeat(32)] };
  const bytes = encodeGcRecord('sweep', other);
  assert.equal(bytes.length, before.length);
  await test.store.delete(name);
  await test.store.put(name, bytes);
  for (const filter of [undefined, { item: 'disk' }]) {
    assert.deepEqual(await host.points({ filter }), []);
  }
  const state = await readGcState(test.store, host.index.sweeps);
  assert.deepEqual(state, await readGcState(test.store));
});

test('a remembered sweep that was damaged is read again', async () => {
  await using test = await TestRepository.create();
  await collected(test);
  const { store, read } = countingSweeps(test.store);
  const host = await test.host({ store, cache: 'one' });
  await host.points();
  const name = gcObjectName(1, 'sweep');
  const { sweep } = await readGcState(test.store);
  const bytes = await getWhole(test.store, name);
  bytes[bytes.length - 100]! ^= 1;
  host.index.sweeps.keep(name, bytes, sweep!);
  await host.index.close();
  const next = await test.host({ store, cache: 'one' });
  assert.equal((await next.points()).length, 1);
  assert.deepEqual(read, [name, name]);
});
