/** Objects that are no records, or none that anybody wrote, under names that have a meaning. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Finding, isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { pointObjectName } from '../recovery-point.ts';
import { repairRepository } from '../repair/repair.ts';
import {
  chunkRange,
  getWhole,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { GC_PLAN_DEFAULTS } from './plan.ts';
import { collectGarbage } from './run.ts';

const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };
const SOMEBODY = '0123456789abcdef'.repeat(2);

const NAMES = [
  'gc/00000001-condemned',
  'gc/00000001-waiting',
  'gc/00000001-sweep',
  'gc/00000001-done',
  'gc/00000002-condemned',
  `sessions/${SOMEBODY}-begin`,
  `sessions/${SOMEBODY}-end`,
  pointObjectName('disk', 0, SOMEBODY),
  `index/00000000-${SOMEBODY.repeat(2)}`,
  `holds/${SOMEBODY}-person`,
  `deleted/${SOMEBODY}`,
  `receipts/${SOMEBODY}`,
  `keys/${SOMEBODY.slice(0, 16)}`,
  packObjectName(Buffer.from(SOMEBODY.repeat(2), 'hex')),
];

const CONTENTS: Record<string, (test: TestRepository) => Promise<Buffer>> = {
  nothing: async () => Buffer.alloc(0),
  noise: async () => Buffer.alloc(3000, 'junk\n'),
  'what is there under another name': async ({ store }) => await getWhole(store, 'config'),
  'far too much': async () => Buffer.alloc(65 * 1024 * 1024),
};

for (const [what, make] of Object.entries(CONTENTS)) {
  test(`${what} under a name that means something stops nothing, and is told`, async () => {
    for (const name of NAMES) {
      await using test = await TestRepository.create();
      const host = await test.host();
      await host.removePoint(await protectDisk(host, chunkRange(0, 30), { item: 'gone' }));
      const kept = await protectDisk(host, chunkRange(20, 40));
      await test.store.put(name, await make(test));
      await assertWorks(test, name, kept.id);
    }
  });
}

async function assertWorks(test: TestRepository, name: string, kept: string): Promise<void> {
  const again = await protectDisk(await test.host(), chunkRange(30, 50));
  const { findings } = await verifyRepository({ repository: await test.host(), readFraction: 1 });
  const isMeant = !['-waiting', '-done', 'packs/'].some((part) => name.includes(part));
  const isTold = findings.some(({ subject, details }) =>
    [subject.name, details['object'] ?? ''].some(
      (each) => String(each).includes(SOMEBODY) || String(each).includes(name),
    ),
  );
  assert.ok(isTold || !isMeant || name.startsWith('keys/'), `it is told of ${name}`);
  // A session of somebody is waited for as long as it may live.
  test.clock.advance(2 * 3_600_000);
  const collector = await test.lockedHost();
  const { outcome } = await collectGarbage({ repository: collector, plan: EAGER });
  assert.equal(outcome, 'done', name);
  const reader = await test.host();
  const ids = (await reader.points({ onDamaged: () => {} })).map(({ id }) => id);
  assert.deepEqual(new Set(ids), new Set([kept, again.id]), name);
  for (const point of await reader.points({ onDamaged: () => {} })) await readDisk(reader, point);
  assert.equal(
    (await collectGarbage({ repository: await test.lockedHost() })).outcome,
    'nothing-to-do',
  );
}

test('what lies below gc/ and follows from nothing goes with the next collection', async () => {
  await using test = await TestRepository.create();
  await protectDisk(await test.host(), chunkRange(0, 10));
  for (const step of ['condemned', 'sweep', 'done']) {
    await test.store.put(`gc/00000001-${step}`, Buffer.alloc(0));
  }
  const findings: Finding[] = [];
  const collector = await test.lockedHost({
    tell: (event) => void (event.kind === 'finding' && findings.push(event.finding)),
  });
  await collectGarbage({ repository: collector });
  assert.deepEqual(await namesOf(test.store, 'gc/'), []);
  assert.deepEqual(new Set(findings.map(({ code }) => code)), new Set(['record-dropped']));
});

test('what a point reaches whose record was damaged is kept', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  const point = await protectDisk(host, chunkRange(0, 10));
  await protectDisk(host, chunkRange(20, 30), { item: 'another' });
  await host.removePoint(await protectDisk(host, chunkRange(40, 60), { item: 'gone' }));
  const name = pointObjectName(point.item, point.generation, point.id);
  const bytes = await getWhole(test.store, name);
  const damaged = Buffer.from(bytes);
  damaged[damaged.length - 10]! ^= 1;
  await replace(test.store, name, damaged);
  const collector = await test.lockedHost();
  assert.equal((await collectGarbage({ repository: collector, plan: EAGER })).outcome, 'done');
  await replace(test.store, name, bytes);
  assert.deepEqual(await readDisk(await test.host(), point), chunkRange(0, 10));
});

async function replace(store: ObjectStore, name: string, bytes: Buffer): Promise<void> {
  await store.delete(name);
  await store.put(name, bytes);
}

test('a damaged index object does not cost the packs that only it names', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  await protectDisk(host, chunkRange(0, 10));
  await host.removePoint(await protectDisk(host, chunkRange(40, 60), { item: 'gone' }));
  const session = await host.beginSession();
  const before = new Set(await namesOf(test.store, 'index/'));
  await protectDisk(host, chunkRange(70, 80), { item: 'removed, and put back' });
  const [point] = await host.points({ filter: { item: 'removed, and put back' } });
  await session.abandon();
  const listed = pointObjectName(point!.item, point!.generation, point!.id);
  const record = await getWhole(test.store, listed);
  await host.removePoint(point!);
  const taken = new Map<string, Buffer>();
  for (const name of await namesOf(test.store, 'index/')) {
    if (before.has(name)) continue;
    taken.set(name, await getWhole(test.store, name));
    await replace(test.store, name, Buffer.from('damaged'));
  }
  const collector = await test.lockedHost();
  assert.equal((await collectGarbage({ repository: collector, plan: EAGER })).outcome, 'done');
  for (const [name, bytes] of taken) await replace(test.store, name, bytes);
  await test.store.put(listed, record);
  assert.deepEqual((await readDisk(await test.host(), point!)).length, 10);
});

test('packs that lie in the folders of others are none', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  await host.removePoint(await protectDisk(host, chunkRange(0, 30), { item: 'gone' }));
  const point = await protectDisk(host, chunkRange(20, 40));
  for (const name of await namesOf(test.store, 'packs/')) {
    const own = name.slice(-64);
    const wrong = own.startsWith('00') ? '01' : '00';
    await test.store.put(`packs/${wrong}/${own}`, Buffer.alloc(70));
    await test.store.put(`packs/${wrong}/${own}x`, Buffer.alloc(70));
    await test.store.put(`packs/${own}`, Buffer.alloc(70));
  }
  assert.equal(
    (await collectGarbage({ repository: await test.lockedHost(), plan: EAGER })).outcome,
    'done',
  );
  await protectDisk(await test.host(), chunkRange(25, 45));
  for (const rebuildIndex of [false, true]) {
    await repairRepository({ repository: await test.host(), rebuildIndex });
    const { findings } = await verifyRepository({ repository: await test.host(), readFraction: 1 });
    assert.deepEqual(findings, []);
    assert.deepEqual(await readDisk(await test.host(), point), chunkRange(20, 40));
  }
});

test('after all records of collections were lost, the index names no pack that is swept', async () => {
  await using test = await TestRepository.create();
  const kept = await protectDisk(await test.host(), chunkRange(0, 10));
  for (let round = 0; round < 3; round++) await collectSomething(test, round);
  const later = await protectDisk(await test.host(), chunkRange(300, 320), { item: 'later gone' });
  for (const name of await namesOf(test.store, 'gc/')) await test.store.delete(name);
  await (await test.host()).removePoint(later);
  for (let round = 3; round < 5; round++) await collectSomething(test, round);
  const host = await test.lockedHost();
  await host.index.synchronize(test.store);
  const packs = new Set(await namesOf(test.store, 'packs/'));
  const missing = [...host.index.packs()].filter(({ pack }) => !packs.has(packObjectName(pack)));
  assert.deepEqual(missing, []);
  assert.deepEqual(await readDisk(await test.host(), kept), chunkRange(0, 10));
});

/** A point that stays, and shares a pack with one that goes. */
async function collectSomething(test: TestRepository, round: number): Promise<void> {
  const host = await test.host();
  const first = 100 + round * 20;
  const gone = await protectDisk(host, chunkRange(first, first + 20), { item: 'gone' });
  await protectDisk(host, chunkRange(first, first + 10), { item: `kept ${round}` });
  await host.removePoint(gone);
  assert.equal((await collectGarbage({ repository: host, plan: EAGER })).outcome, 'done');
}

test('a sweep that counts no index object is told, and mended without keys', async () => {
  await using test = await TestRepository.create();
  const point = await protectDisk(await test.host(), chunkRange(0, 20));
  test.clock.advance(1000);
  const { encodeRecord } = await import('../record.ts');
  const collection = '00'.repeat(16);
  const sweep = { generation: 1, collection, packs: [], survivors: [point.id], indexObjects: [] };
  await test.store.put('gc/00000001-sweep', encodeRecord('gc', sweep));
  await test.store.put('gc/00000001-done', encodeRecord('gc', { generation: 1 }));
  const { findings } = await verifyRepository({ repository: await test.host(), readFraction: 0 });
  const told = findings.find(({ code }) => code === 'index-hidden');
  assert.equal(told?.subject.name, 'gc/00000001-sweep');
  await assert.rejects(collectGarbage({ repository: await test.lockedHost() }), (error) =>
    isCofferError(error, 'repository-damaged'),
  );
  await repairRepository({ repository: await test.lockedHost(), rebuildIndex: false });
  const again = await test.host();
  assert.deepEqual(await readDisk(again, point), chunkRange(0, 20));
  const after = await verifyRepository({ repository: again, readFraction: 1 });
  assert.deepEqual(after.findings, []);
});
