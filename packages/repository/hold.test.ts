import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError, isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { holdName } from './hold.ts';
import { repairRepository } from './repair/repair.ts';
import type { RecoveryPoint } from './recovery-point.ts';
import type { Repository } from './repository.ts';
import {
  chunkRange,
  namesOf,
  onPut,
  protectDisk,
  TestRepository,
} from './testing/test-repository.ts';
import { verifyRepository } from './verify/verify.ts';

const BY = { reason: '', by: 'somebody' };
const CHUNKS = chunkRange(0, 3);

async function isHeld(repository: Repository, { id }: RecoveryPoint): Promise<boolean> {
  const points = await repository.points();
  return points.find((point) => point.id === id)!.held;
}

const isPointHeld = (error: unknown): boolean => isCofferError(error, 'point-held');

test('a point is held as long as anybody holds it, and who releases, releases their own', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  for (const holder of ['person', 'instant-1']) await repository.hold(point, { holder, ...BY });
  await repository.release(point, 'instant-1');
  assert.equal(await isHeld(repository, point), true);
  await assert.rejects(repository.removePoint(point), isPointHeld);
  await assert.rejects(repository.softDelete(point, { until: 0, by: '' }), isPointHeld);
  await repository.release(point, 'person');
  assert.equal(await isHeld(repository, point), false);
  await repository.removePoint(point);
});

test('a point that was held after it was listed is not removed', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  await repository.hold(point, { holder: 'person', ...BY });
  assert.equal(point.held, false);
  await assert.rejects(repository.removePoint(point), isPointHeld);
});

test('a hold with an end is in force until then', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  const until = test.clock.now() + 1000;
  await repository.hold(point, { holder: 'person', ...BY, until });
  test.clock.advance(999);
  assert.equal(await isHeld(repository, point), true);
  test.clock.advance(1);
  assert.equal(await isHeld(repository, point), false);
  assert.deepEqual(await repository.holds(), []);
  await repository.removePoint(point);
  assert.deepEqual(await namesOf(test.store, 'holds/'), []);
});

test('who holds again changes their hold, and the point is held at every step', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  const holder = 'person';
  await repository.hold(point, { holder, ...BY, until: test.clock.now() + 1000 });
  const watched = onPut(test.store, async (name) => {
    if (name.startsWith('holds/')) assert.equal(await isHeld(repository, point), true);
  });
  const reason = 'for longer';
  await (await test.host({ store: watched })).hold(point, { holder, reason, by: 'somebody' });
  test.clock.advance(5000);
  assert.deepEqual(
    (await repository.holds()).map(({ record }) => record?.reason),
    [reason],
  );
});

test('a hold that is replaced while a removal reads it holds the point', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  await repository.hold(point, { holder: 'person', ...BY });
  const get: ObjectStore['get'] = async (name, options) => {
    // Between the list and the reading, another one has put a stand-in, and deleted it.
    if (name.startsWith('holds/')) throw new CofferError('object-not-found', { name });
    return await test.store.get(name, options);
  };
  const store = new Proxy(test.store, {
    get: (target, property) => {
      const value: unknown = property === 'get' ? get : Reflect.get(target, property);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  await assert.rejects((await test.host({ store })).removePoint(point), isPointHeld);
});

test('a damaged hold holds, is found, and stays a hold of its holder after a repair', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  const name = holdName({ point: point.id, holder: 'standby' });
  await test.store.put(name, Buffer.from('damaged'));
  assert.equal(await isHeld(repository, point), true);
  const { findings } = await verifyRepository({ repository, readFraction: 0 });
  assert.deepEqual(
    findings.map(({ subject }) => subject.name),
    [name],
  );
  await repairRepository({ repository, rebuildIndex: false });
  assert.deepEqual((await verifyRepository({ repository, readFraction: 0 })).findings, []);
  assert.deepEqual(
    (await repository.holds()).map(({ holder }) => holder),
    ['standby'],
  );
  await repository.release(point, 'standby');
  assert.equal(await isHeld(repository, point), false);
});

test('a repair that is killed anywhere releases nothing', async () => {
  for (let writesLeft = 0; ; writesLeft++) {
    await using test = await TestRepository.create();
    const repository = await test.host();
    const point = await protectDisk(repository, CHUNKS);
    await test.store.put(holdName({ point: point.id, holder: 'standby' }), Buffer.from('damaged'));
    let left = writesLeft;
    const dying = onPut(test.store, () => {
      if (left-- === 0) throw new Error('killed');
    });
    const repair = repairRepository({
      repository: await test.host({ store: dying }),
      rebuildIndex: false,
    });
    const isDone = await repair.then(
      () => true,
      () => false,
    );
    assert.equal(await isHeld(repository, point), true);
    if (isDone) break;
  }
});

test('a holder is a short name', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, CHUNKS);
  for (const holder of ['', 'Person', '-a', 'a/b', 'a'.repeat(65)]) {
    await assert.rejects(repository.hold(point, { holder, ...BY }), (error) =>
      isCofferError(error, 'usage'),
    );
  }
  assert.deepEqual(await namesOf(test.store, 'holds/'), []);
});
