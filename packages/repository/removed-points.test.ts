/** Points that were lost are told from points that were removed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { GC_PLAN_DEFAULTS } from './gc/plan.ts';
import { collectGarbage } from './gc/run.ts';
import type { RecoveryPoint } from './recovery-point.ts';
import { pointObjectName } from './recovery-point.ts';
import { repairRepository } from './repair/repair.ts';
import type { UnlockedRepository } from './repository.ts';
import {
  chunkRange,
  getWhole,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from './testing/test-repository.ts';
import { verifyRepository } from './verify/verify.ts';

const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };

function nameOf({ item, generation, id }: RecoveryPoint): string {
  return pointObjectName(item, generation, id);
}

/** Two points that a collection has seen. */
async function collected(test: TestRepository): Promise<[RecoveryPoint, RecoveryPoint]> {
  const host = await test.host();
  const first = await protectDisk(host, chunkRange(0, 10), { item: 'first' });
  const second = await protectDisk(host, chunkRange(5, 20), { item: 'second' });
  await host.removePoint(await protectDisk(host, chunkRange(30, 40), { item: 'gone' }));
  await collect(host);
  return [first, second];
}

async function collect(repository: UnlockedRepository): Promise<string> {
  return (await collectGarbage({ repository, plan: EAGER })).outcome;
}

async function codesOf(test: TestRepository): Promise<string[]> {
  const repository = await test.host();
  const { findings } = await verifyRepository({ repository, readFraction: 0 });
  return findings.map(({ code, subject }) => `${code} ${subject.name}`);
}

test('a point that was removed is not told, and no note of it stays', async () => {
  await using test = await TestRepository.create();
  const [first] = await collected(test);
  const host = await test.host();
  await host.removePoint(first);
  assert.deepEqual(await codesOf(test), []);
  assert.deepEqual(await namesOf(test.store, 'removed/'), [`removed/${first.id}`]);
  assert.equal(await collect(host), 'done');
  assert.deepEqual(await codesOf(test), []);
  assert.deepEqual(await namesOf(test.store, 'removed/'), []);
});

test('a point that is lost is told, and no collection makes that final', async () => {
  await using test = await TestRepository.create();
  const [first, second] = await collected(test);
  const record = await getWhole(test.store, nameOf(first));
  await test.store.delete(nameOf(first));
  assert.deepEqual(await codesOf(test), [`point-lost ${first.id}`]);
  const host = await test.host();
  await host.removePoint(await protectDisk(host, chunkRange(50, 60), { item: 'gone' }));
  await assert.rejects(collect(host), (error) => isCofferError(error, 'repository-damaged'));
  // Somebody finds it again.
  await test.store.put(nameOf(first), record);
  assert.deepEqual(await codesOf(test), []);
  assert.equal(await collect(host), 'done');
  for (const point of [first, second]) assert.ok(await readDisk(await test.host(), point));
});

test('a repair gives points up that are lost', async () => {
  await using test = await TestRepository.create();
  const [first, second] = await collected(test);
  await test.store.delete(nameOf(first));
  const { findings } = await repairRepository({
    repository: await test.lockedHost(),
    rebuildIndex: false,
  });
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['point-lost'],
  );
  assert.deepEqual(await codesOf(test), []);
  assert.equal(await collect(await test.host()), 'done');
  assert.deepEqual(await readDisk(await test.host(), second), chunkRange(5, 20));
  assert.deepEqual(await codesOf(test), []);
});

test('a removal that was killed after its note has removed nothing', async () => {
  await using test = await TestRepository.create();
  const [first] = await collected(test);
  const dying = new Proxy(test.store, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property);
      if (property === 'delete') return () => Promise.reject(new Error('killed'));
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  await assert.rejects((await test.host({ store: dying })).removePoint(first), /killed/);
  assert.deepEqual(await codesOf(test), []);
  await collect(await test.host());
  assert.deepEqual(await readDisk(await test.host(), first), chunkRange(0, 10));
  await (await test.host()).removePoint(first);
  assert.deepEqual(await codesOf(test), []);
});
