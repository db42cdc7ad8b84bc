import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copyPoints } from './copy/copy.ts';
import { deletionName } from './deleted-points.ts';
import { GC_PLAN_DEFAULTS } from './gc/plan.ts';
import { collectGarbage } from './gc/run.ts';
import { purgeablePoints } from './purge.ts';
import type { RecoveryPoint } from './recovery-point.ts';
import { repairRepository } from './repair/repair.ts';
import {
  chunkRange,
  namesOf,
  onGet,
  protectDisk,
  readDisk,
  TestRepository,
} from './testing/test-repository.ts';
import { verifyRepository } from './verify/verify.ts';

const PLAN = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };
const idsOf = (points: readonly RecoveryPoint[]): string[] => points.map(({ id }) => id);

async function withDeleted() {
  const test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, chunkRange(0, 10));
  const other = await protectDisk(repository, chunkRange(20, 30), { item: 'other' });
  const until = test.clock.now() + 1000;
  await repository.softDelete(point, { until, by: 'somebody' });
  return { test, repository, point, other, until };
}

test('a deleted point is hidden from every listing but its own, and comes back', async () => {
  const { test, repository, point, other, until } = await withDeleted();
  await using _ = test;
  for (const filter of [undefined, { item: point.item }, { idPrefix: point.id.slice(0, 8) }]) {
    assert.ok(!idsOf(await repository.points({ filter })).includes(point.id));
    const all = await repository.points({ filter, deleted: true });
    const deletion = { point: point.id, at: test.clock.now(), until, by: 'somebody' };
    assert.deepEqual(all.find(({ id }) => id === point.id)?.deletion, deletion);
  }
  assert.deepEqual(idsOf(await repository.points()), [other.id]);
  await repository.undelete(point);
  assert.deepEqual(await repository.points({ filter: { item: point.item } }), [point]);
});

test('collections keep what a deleted point reaches, and it survives them', async () => {
  const { test, repository, point } = await withDeleted();
  await using _ = test;
  const gone = await protectDisk(repository, chunkRange(5, 15), { item: 'gone' });
  await repository.removePoint(gone);
  assert.equal((await collectGarbage({ repository, plan: PLAN })).outcome, 'done');
  const { findings } = await verifyRepository({ repository, readFraction: 1 });
  assert.deepEqual(findings, []);
  await repository.undelete(point);
  assert.ok(idsOf(await repository.points()).includes(point.id));
  assert.deepEqual(await readDisk(await test.host(), point), chunkRange(0, 10));
});

test('a deleted point is there to be purged once its time is over, unless it is held', async () => {
  const { test, repository, point } = await withDeleted();
  await using _ = test;
  assert.deepEqual(await purgeablePoints(repository), []);
  test.clock.advance(1000);
  assert.deepEqual(idsOf(await purgeablePoints(repository)), [point.id]);
  await repository.hold(point, { holder: 'person', reason: '', by: '' });
  assert.deepEqual(await purgeablePoints(repository), []);
  await repository.release(point, 'person');
  await repository.removePoint(point);
  assert.deepEqual(await namesOf(test.store, 'deleted/'), []);
  assert.equal((await repository.points({ deleted: true })).length, 1);
});

test('a damaged mark hides nothing, is found, and goes with a repair', async () => {
  const { test, repository, point } = await withDeleted();
  await using _ = test;
  const name = deletionName(point.id);
  await test.store.delete(name);
  await test.store.put(name, Buffer.from('damaged'));
  assert.equal((await repository.points()).length, 2);
  const { findings } = await verifyRepository({ repository, readFraction: 0 });
  assert.deepEqual(
    findings.map(({ subject }) => subject.name),
    [name],
  );
  await repairRepository({ repository, rebuildIndex: false });
  assert.deepEqual(await namesOf(test.store, 'deleted/'), []);
  assert.deepEqual((await verifyRepository({ repository, readFraction: 0 })).findings, []);
});

test('a damaged mark is no obstacle to a deletion, and an intact one stays as it is', async () => {
  const { test, repository, point, other, until } = await withDeleted();
  await using _ = test;
  await test.store.put(deletionName(other.id), Buffer.from('damaged'));
  for (const { id } of [point, other]) await repository.softDelete({ id }, { until: 7, by: '' });
  assert.deepEqual(await repository.points(), []);
  const all = await repository.points({ deleted: true });
  const untils = new Map(all.map(({ id, deletion }) => [id, deletion?.until]));
  assert.deepEqual([untils.get(point.id), untils.get(other.id)], [until, 7]);
});

test('a deleted point is not copied, and one that the target has deleted stays deleted', async () => {
  const { test, repository, point, other } = await withDeleted();
  await using _ = test;
  await using target = await TestRepository.create({ keys: test.keys, seed: 2 });
  const to = await target.host();
  const copy = { source: repository, target: to, isWanted: () => true };
  assert.deepEqual((await copyPoints(copy)).pointsCopied, [other.id]);
  await to.softDelete(other, { until: 0, by: '' });
  await repository.undelete(point);
  assert.deepEqual((await copyPoints(copy)).pointsCopied, [point.id]);
  assert.deepEqual(idsOf(await to.points()), [point.id]);
});

for (const what of ['purged', 'shown again'] as const) {
  test(`a point that is ${what} while points are listed is no deleted one that shows itself`, async () => {
    const { test, repository, point, other } = await withDeleted();
    await using _ = test;
    const store = onGet(test.store, async (name) => {
      if (name !== deletionName(point.id)) return;
      await (what === 'purged' ? repository.removePoint(point) : repository.undelete(point));
    });
    const shown = what === 'purged' ? [other.id] : [point.id, other.id];
    assert.deepEqual(idsOf(await (await test.host({ store })).points()).sort(), shown.sort());
  });
}

test('who lists the points of an item reads no marks of others', async () => {
  const { test, repository, point } = await withDeleted();
  await using _ = test;
  const elsewhere = await protectDisk(repository, chunkRange(0, 3), { item: 'elsewhere' });
  const read: string[] = [];
  const host = await test.host({ store: onGet(test.store, (name) => void read.push(name)) });
  const listed = await host.points({ filter: { item: 'elsewhere' } });
  assert.deepEqual(idsOf(listed), [elsewhere.id]);
  assert.ok(!read.includes(deletionName(point.id)));
});
