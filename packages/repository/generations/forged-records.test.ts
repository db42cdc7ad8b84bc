/** Records of collections that no collection has made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { encodeRecord } from '../record.ts';
import { repairRepository } from '../repair/repair.ts';
import {
  chunkRange,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { chainOf, type GcObject, type GcStep } from './gc-record.ts';
import { collectGarbage } from '../gc/run.ts';

function objectsOf(...names: string[]): GcObject[] {
  return names.map((name) => {
    const [generation, step] = name.split('-');
    return { name, generation: Number(generation), step: step as GcStep };
  });
}

const CHAINS: readonly [
  records: string[],
  generation: number,
  unfinished: boolean,
  sweep: number,
][] = [
  [[], 0, false, 0],
  [['1-condemned'], 1, true, 0],
  [['1-condemned', '1-waiting', '1-sweep'], 1, true, 1],
  [['1-condemned', '1-waiting', '1-sweep', '1-done'], 1, false, 1],
  [['1-sweep', '1-done'], 1, false, 1],
  [['1-sweep', '1-done', '2-condemned'], 2, true, 1],
  [['1-sweep', '1-done', '2-condemned', '2-sweep'], 2, true, 2],
  [['1-sweep', '1-done', '2-condemned', '2-sweep', '2-done'], 2, false, 2],
  // A collection that stood still writes a record of one that is done.
  [['1-condemned', '2-sweep', '2-done'], 2, false, 2],
  [['2-condemned', '2-sweep', '2-done'], 2, false, 2],
  // What follows from nothing.
  [['7-done'], 0, false, 0],
  [['1-sweep', '1-done', '7-done'], 1, false, 1],
  [['1-sweep', '1-done', '7-sweep'], 1, false, 1],
  [['1-sweep', '1-done', '7-condemned'], 1, false, 1],
  [['1-sweep', '1-done', '2-condemned', '7-condemned', '7-sweep'], 2, true, 1],
];

for (const [records, generation, unfinished, sweep] of CHAINS) {
  test(`of ${records.join(', ') || 'no records'} the newest collection is ${generation}`, () => {
    const chain = chainOf(objectsOf(...records));
    const newest = chain.decided ?? chain.done;
    assert.deepEqual(
      [chain.generation, chain.condemned !== undefined, newest?.generation ?? 0],
      [generation, unfinished, sweep],
    );
  });
}

const JUNK = ['9007199254740992', '100000000000000000000', '999999999999999', '00000007', '7'];

for (const generation of JUNK) {
  test(`a junk record of generation ${generation} stops no backup and no collection`, async () => {
    await using test = await TestRepository.create();
    await test.store.put(`gc/${generation}-done`, Buffer.alloc(0));
    const host = await test.host();
    await host.removePoint(await protectDisk(host, chunkRange(0, 10)));
    const point = await protectDisk(host, chunkRange(5, 20));
    for (let round = 0; round < 2; round++) {
      await collectGarbage({ repository: await test.lockedHost() });
      assert.deepEqual(await readDisk(await test.host(), point), chunkRange(5, 20));
    }
    await repairRepository({ repository: await test.host(), rebuildIndex: false });
    assert.deepEqual(await readDisk(await test.host(), point), chunkRange(5, 20));
  });
}

for (const generation of [7, 999_999_999_999_999]) {
  test(`a forged sweep of generation ${generation} hides points; it is told, and mended with keys`, async () => {
    await using test = await TestRepository.create();
    const point = await protectDisk(await test.host(), chunkRange(0, 20));
    test.clock.advance(1000);
    const name = String(generation).padStart(8, '0');
    const collection = '00'.repeat(16);
    const sweep = { generation, collection, packs: [], survivors: [], indexObjects: [] };
    await test.store.put(`gc/${name}-sweep`, encodeRecord('gc', sweep));
    await test.store.put(`gc/${name}-done`, encodeRecord('gc', { generation }));
    const host = await test.host();
    assert.deepEqual(await host.points(), []);
    assert.equal(await host.countHiddenPoints(), 1);
    assert.equal(await host.countHiddenPoints(point.item), 1);
    assert.equal(await host.countHiddenPoints('another'), 0);
    for (const repository of [await test.lockedHost(), host]) {
      const { findings } = await verifyRepository({ repository, readFraction: 0 });
      assert.deepEqual(
        findings.map(({ code, subject }) => [code, subject.name]),
        [
          ['points-hidden', `gc/${name}-sweep`],
          ['index-hidden', `gc/${name}-sweep`],
        ],
      );
    }
    const packs = await namesOf(test.store, 'packs/');
    await assert.rejects(collectGarbage({ repository: await test.lockedHost() }), (error) =>
      isCofferError(error, 'repository-damaged'),
    );
    assert.deepEqual(await namesOf(test.store, 'packs/'), packs);
    await repairRepository({ repository: await test.host(), rebuildIndex: false });
    const again = await test.host();
    assert.deepEqual(
      (await again.points()).map(({ id }) => id),
      [point.id],
    );
    assert.deepEqual(await readDisk(again, point), chunkRange(0, 20));
    await again.removePoint(await protectDisk(again, chunkRange(40, 60), { item: 'gone' }));
    assert.equal((await collectGarbage({ repository: again })).outcome, 'done');
    assert.deepEqual(await readDisk(await test.host(), point), chunkRange(0, 20));
  });
}

test('a sweep and a list of sessions that lie there before their collection mean nothing', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  const point = await protectDisk(host, chunkRange(0, 20));
  await host.removePoint(await protectDisk(host, chunkRange(40, 60), { item: 'gone' }));
  const all = (await namesOf(test.store, 'packs/')).map((name) => name.slice(-64));
  const indexObjects = await namesOf(test.store, 'index/');
  const forged = { generation: 1, collection: '00'.repeat(16) };
  const sweep = { ...forged, packs: all, survivors: [point.id], indexObjects };
  await test.store.put('gc/00000001-sweep', encodeRecord('gc', sweep));
  await test.store.put('gc/00000001-waiting', encodeRecord('gc', { ...forged, sessions: [] }));
  const session = await (await test.host()).beginSession();
  assert.equal((await collectGarbage({ repository: await test.lockedHost() })).outcome, 'waiting');
  await session.abandon();
  assert.equal((await collectGarbage({ repository: await test.lockedHost() })).outcome, 'done');
  assert.deepEqual(await readDisk(await test.host(), point), chunkRange(0, 20));
});
