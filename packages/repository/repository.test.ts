import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CofferError, digest, isCofferError } from '@coffer/base';
import { copyPoints } from './copy/copy.ts';
import { collectGarbage } from './gc/run.ts';
import { encodeRecord } from './record.ts';
import { pointObjectName, type RecoveryPoint } from './recovery-point.ts';
import { repairRepository } from './repair/repair.ts';
import type { Repository } from './repository.ts';
import {
  chunkOf,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from './testing/test-repository.ts';
import { verifyRepository } from './verify/verify.ts';

const CHUNKS = [chunkOf(1), chunkOf(2), chunkOf(3)];
const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');

/** What someone who can write to the store, and has no key, makes of a point that is there. */
async function plant({ store }: Repository, point: RecoveryPoint, item: string): Promise<string> {
  const { kind, takenAt, roots, tags, manifest, mac } = point;
  const bytes = encodeRecord('point', { item, kind, takenAt, roots, tags, manifest, mac });
  const id = digest(bytes).toString('hex', 0, 16);
  await store.put(pointObjectName(item, 0, id), bytes);
  return id;
}

test('a tree under the name of another item is found by whoever has the keys', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  const planted = await plant(repository, point, 'accounts');
  await assert.rejects(repository.points(), isDamaged);
  const told: CofferError[] = [];
  const points = await repository.points({ onDamaged: (error) => told.push(error) });
  assert.deepEqual(
    points.map(({ id }) => id),
    [point.id],
  );
  assert.equal(told.length, 1);
  for (const named of [planted, 'accounts']) assert.ok(told[0]!.message.includes(named));
  const { findings } = await verifyRepository({ repository, readFraction: 0 });
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['object-damaged'],
  );
  // Without keys nobody can tell, and both are kept.
  const keyless = await test.lockedHost();
  assert.equal((await keyless.points()).length, 2);
  const { pointsDropped } = await repairRepository({ repository, rebuildIndex: false });
  assert.deepEqual(pointsDropped, [planted]);
  assert.equal((await keyless.points()).length, 1);
});

test('a point in the folder of another item is damage, and a repair drops it', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  const bytes = await repository.readPointRecord(point);
  await repository.removePoint(point);
  await test.store.put(pointObjectName('other', 0, point.id), bytes);
  await assert.rejects(repository.points(), isDamaged);
  const { pointsDropped } = await repairRepository({ repository, rebuildIndex: false });
  assert.deepEqual(pointsDropped, [point.id]);
  assert.deepEqual(await namesOf(test.store, 'points/'), []);
});

test('a copy with other keys has a MAC of those', async () => {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ seed: 2 });
  const from = await source.host();
  const point = await protectDisk(from, CHUNKS);
  const to = await target.host();
  await copyPoints({ source: from, target: to, isWanted: () => true });
  const [copied] = await to.points();
  assert.notEqual(copied?.mac, point.mac);
  assert.deepEqual(copied?.roots[0]?.name, 'disk');
  assert.deepEqual(await readDisk(to, copied), CHUNKS);
});

test('a point under several generations is one point, and is removed from all of them', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  const bytes = await repository.readPointRecord(point);
  for (const generation of [1, 2]) {
    await test.store.put(pointObjectName(point.item, generation, point.id), bytes);
  }
  assert.deepEqual(
    (await repository.points()).map(({ generation }) => generation),
    [2],
  );
  await repository.removePoint(point);
  assert.deepEqual(await repository.points(), []);
  assert.deepEqual(await namesOf(test.store, 'points/'), []);
});

test('a point that came back in a later generation is not hidden by an earlier one', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  const bytes = await repository.readPointRecord(point);
  await repository.removePoint(point);
  assert.equal((await collectGarbage({ repository })).outcome, 'done');
  // What it reaches is stored again, and the point listed; the first listing arrives late.
  await protectDisk(repository, CHUNKS, { item: 'other' });
  for (const generation of [1, 0]) {
    await test.store.put(pointObjectName(point.item, generation, point.id), bytes);
  }
  const found = (await repository.points()).find(({ id }) => id === point.id);
  assert.equal(found?.generation, 1);
});

test('a damaged config closes nothing: it is found, and repaired from its copy', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const point = await protectDisk(writer, CHUNKS);
  await test.store.delete('config');
  await test.store.put('config', Buffer.from('damaged'));
  const repository = await test.host();
  assert.deepEqual(await readDisk(repository, point), CHUNKS);
  const before = await verifyRepository({ repository, readFraction: 0 });
  assert.deepEqual(
    before.findings.map(({ subject }) => subject.name),
    ['config'],
  );
  const { findings } = await repairRepository({ repository, rebuildIndex: false });
  assert.deepEqual(
    findings.map(({ subject }) => subject.name),
    ['config'],
  );
  assert.deepEqual((await verifyRepository({ repository, readFraction: 0 })).findings, []);
});
