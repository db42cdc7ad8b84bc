/** A repair that is killed before any of its changes: what comes after it gets it right. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { markedDamaged } from '../damaged-points.ts';
import {
  chunkRange,
  getWhole,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { repairRepository } from './repair.ts';

/** A store that ends its process before one of its changes. */
function dying(store: ObjectStore, changesLeft: number): ObjectStore {
  let left = changesLeft;
  return new Proxy(store, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      const call = (...args: unknown[]): unknown => Reflect.apply(value, target, args);
      if (property !== 'put' && property !== 'delete') return call;
      return async (...args: unknown[]) => {
        if (left-- <= 0) throw new Error('killed');
        return await call(...args);
      };
    },
  });
}

async function breakLargestPack(store: ObjectStore): Promise<void> {
  const packs = await Promise.all(
    (await namesOf(store, 'packs/')).map(async (name) => ({
      name,
      bytes: await getWhole(store, name),
    })),
  );
  const [{ name, bytes }] = packs.sort((a, b) => b.bytes.length - a.bytes.length) as [
    (typeof packs)[number],
  ];
  const broken = Buffer.from(bytes);
  broken[100]! ^= 1;
  await store.delete(name);
  await store.put(name, broken);
}

test('points that a repair makes miss chunks are marked before it does', async () => {
  for (let changes = 0; ; changes++) {
    await using test = await TestRepository.create();
    const damaged = await protectDisk(await test.host(), chunkRange(0, 20));
    await breakLargestPack(test.store);
    const whole = await protectDisk(await test.host(), chunkRange(50, 60), { item: 'whole' });
    const store = dying(test.store, changes);
    const isKilled = await repairRepository({
      repository: await test.host({ store }),
      rebuildIndex: false,
    }).then(
      () => false,
      () => true,
    );
    const found = await verifyRepository({ repository: await test.host(), readFraction: 0 });
    const marked = await markedDamaged(test.store);
    for (const id of found.pointsDamaged) assert.ok(marked.has(id), `after ${changes} changes`);
    test.clock.advance(2 * 3_600_000);
    const again = await repairRepository({ repository: await test.host(), rebuildIndex: false });
    assert.deepEqual(again.pointsDamaged, [damaged.id]);
    assert.deepEqual(await markedDamaged(test.store), new Set([damaged.id]));
    assert.deepEqual(await readDisk(await test.host(), whole), chunkRange(50, 60));
    if (!isKilled) break;
  }
});
