/**
 * Interleavings that lost data or points in earlier versions of the protocol, each written out step
 * by step. The simulation finds such by chance; these stay found. PROTOCOL.md names each.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { copyPoints } from '../copy/copy.ts';
import { encodeIndexObject, decodeIndexObject } from '../index/index-codec.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import type { UnlockedRepository } from '../repository.ts';
import {
  getWhole,
  chunkOf,
  chunkRange,
  namesOf,
  onPut,
  protectDisk,
  readDisk,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { GC_PLAN_DEFAULTS } from './plan.ts';
import { collectGarbage } from './run.ts';

/** Every wasteful pack is emptied. */
const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };

async function assertWhole(
  repository: UnlockedRepository,
  expected: Map<string, Buffer[]>,
): Promise<void> {
  const { findings } = await verifyRepository({ repository, readFraction: 1 });
  assert.deepEqual(findings, []);
  const points = await repository.points();
  assert.deepEqual(points.map(({ id }) => id).sort(), [...expected.keys()].sort());
  for (const point of points) {
    assert.deepEqual(await readDisk(repository, point), expected.get(point.id));
  }
}

test('a pack that two index objects name is not taken for dead', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, chunkRange(0, 20));
  // As a rebuild of the index leaves it, when it is killed before it removes what was there.
  for (const name of await namesOf(test.store, 'index/')) {
    const packs = decodeIndexObject({ name, bytes: await getWhole(test.store, name) });
    for (const pack of packs) {
      const { name: again, bytes } = encodeIndexObject([pack, ...packs], 0);
      await test.store.put(again, bytes);
    }
  }
  const other = await protectDisk(repository, chunkRange(100, 110));
  await repository.removePoint(other);
  await collectGarbage({ repository: await test.host(), plan: EAGER });
  await assertWhole(await test.host(), new Map([[point.id, chunkRange(0, 20)]]));
});

test('a collection that two others overtook condemns nothing', async () => {
  await using test = await TestRepository.create();
  const hostA = await test.host();
  const hostB = await test.host();
  const kept = await protectDisk(hostA, chunkRange(0, 10));
  const removed = await protectDisk(hostA, chunkRange(20, 30));
  await hostA.removePoint(removed);
  let late: RecoveryPoint | undefined;
  // A has planned with removed gone. Before it condemns, B collects twice.
  const slow = onPut(test.store, async (name) => {
    if (name === 'gc/00000001-waiting' && !late) {
      // From here on A believes that it waits for nobody. A new writer uses what A will remove.
      late = await protectDisk(hostB, [...chunkRange(20, 30), ...chunkRange(40, 42)]);
    }
    if (name !== 'gc/00000001-condemned') return;
    // B keeps the packs that A is to condemn: they are used again.
    const again = await protectDisk(hostB, [...chunkRange(20, 30), chunkOf(50)]);
    for (const from of [60, 80]) {
      await hostB.removePoint(await protectDisk(hostB, chunkRange(from, from + 10)));
      assert.equal((await collectGarbage({ repository: hostB, plan: EAGER })).outcome, 'done');
    }
    await hostB.removePoint(again);
  });
  await assert.rejects(
    collectGarbage({ repository: await test.host({ store: slow }), plan: EAGER }),
    (error) => isCofferError(error, 'gc-superseded'),
  );
  const expected = new Map([[kept.id, chunkRange(0, 10)]]);
  if (late) expected.set(late.id, [...chunkRange(20, 30), ...chunkRange(40, 42)]);
  await assertWhole(await test.host(), expected);
});

test('an index object that appears late is not used by a session of the next generation', async () => {
  await using test = await TestRepository.create();
  const first = await protectDisk(await test.host(), chunkRange(0, 10));
  const removed = await protectDisk(await test.host(), chunkRange(20, 30));
  const collector = await test.host();
  await collector.removePoint(removed);

  // A writer whose index object the network keeps, and that is killed.
  let kept: { name: string; bytes: Buffer } | undefined;
  const losing = onPut(test.store, (name, bytes) => {
    if (!name.startsWith('index/')) return;
    kept = { name, bytes: Buffer.from(bytes) };
    throw new Error('killed');
  });
  const writer = await test.host({ store: losing });
  const dead = await writer.beginSession();

  let second: { id: string } | undefined;
  const other = await test.host();
  const store = onPut(test.store, async (name) => {
    if (name === 'gc/00000001-condemned') {
      await assert.rejects(writeDisk(writer, dead, chunkRange(40, 50)).then(() => dead.commit([])));
      await dead.abandon();
    }
    if (name !== 'gc/00000001-sweep') return;
    await test.store.put(kept!.name, kept!.bytes);
    const session = await other.beginSession();
    second = await writeDisk(other, session, chunkRange(40, 50));
    await session.commit([await writeDisk(other, session, chunkRange(40, 50))]);
  });
  await collectGarbage({ repository: await test.host({ store }), plan: EAGER });
  assert.ok(second);
  const repository = await test.host();
  const points = await repository.points();
  const expected = new Map(points.map(({ id }) => [id, chunkRange(40, 50)]));
  expected.set(first.id, chunkRange(0, 10));
  assert.equal(points.length, 2);
  await assertWhole(repository, expected);
});

test('a copy does not build on a point that was removed meanwhile', async () => {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ keys: source.keys, seed: 2 });
  const from = await source.host();
  const base = await protectDisk(from, chunkRange(0, 10), { takenAt: 1 });
  const to = await target.host();
  await copyPoints({ source: from, target: to, isWanted: () => true });
  const next = await protectDisk(from, [...chunkRange(0, 10), chunkOf(90)], { takenAt: 2 });

  const janitor = await target.host();
  let isFirst = true;
  // The target's points are listed. Before the session begins, the base goes and is condemned;
  // before it ends, the collection is carried on, which has not to wait for it.
  const store = onPut(target.store, async (name) => {
    if (!/^sessions\/.*-(begin|end)$/.test(name)) return;
    if (!isFirst) {
      assert.equal((await collectGarbage({ repository: janitor, plan: EAGER })).outcome, 'done');
      return;
    }
    isFirst = false;
    const [point] = await janitor.points();
    await janitor.removePoint(point!);
    const stopping = onPut(target.store, (each) => {
      if (each === 'gc/00000001-sweep') throw new Error('killed');
    });
    const killed = { repository: await target.host({ store: stopping }), plan: EAGER };
    await assert.rejects(collectGarbage(killed), /killed/);
  });
  await copyPoints({
    source: from,
    target: await target.host({ store }),
    isWanted: ({ id }) => id === next.id,
  });
  await assertWhole(await target.host(), new Map([[next.id, [...chunkRange(0, 10), chunkOf(90)]]]));
  assert.notEqual(base.id, next.id);
});
