// What other processes do while a collection runs: each of these once lost what a listed point reaches.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { repairRepository } from '../repair/repair.ts';
import type { UnlockedRepository } from '../repository.ts';
import { LEASE_MS } from '../session/session.ts';
import {
  getWhole,
  chunkRange,
  onPut,
  protectDisk,
  readDisk,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { GC_PLAN_DEFAULTS } from './plan.ts';
import { collectGarbage, type GcResult } from './run.ts';

const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };
const SMALL_PACKS = { packSizeBytes: 2000 };

/** A store that waits for `before` at each read. */
function onGet(store: ObjectStore, before: (name: string) => Promise<void>): ObjectStore {
  return new Proxy(store, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      const call = (...args: unknown[]): unknown => Reflect.apply(value, target, args);
      if (property !== 'get' && property !== 'getRange') return call;
      return async (name: string, ...more: unknown[]) => {
        await before(name);
        return await call(name, ...more);
      };
    },
  });
}

/** A store that waits for `before` when it begins to list what has a prefix. */
function watchedLists(store: ObjectStore, before: (prefix: string) => Promise<void>): ObjectStore {
  return new Proxy(store, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      if (property !== 'list') {
        return (...args: unknown[]): unknown => Reflect.apply(value, target, args);
      }
      return async function* (...[prefix, options]: Parameters<ObjectStore['list']>) {
        await before(prefix);
        yield* target.list(prefix, options);
      };
    },
  });
}

function collect(repository: UnlockedRepository): Promise<GcResult> {
  return collectGarbage({ repository, plan: EAGER });
}

/** It may say that it was overtaken, but not more than that. */
async function collectOrBeOvertaken(repository: UnlockedRepository): Promise<void> {
  await collect(repository).catch((error: unknown) => {
    assert.equal((error as { code: unknown }).code, 'gc-superseded');
  });
}

async function assertWhole(repository: TestRepository, ...items: string[]): Promise<void> {
  const fresh = await repository.host();
  const points = await fresh.points();
  assert.deepEqual(points.map(({ item }) => item).sort(), items.sort());
  for (const point of points) await readDisk(fresh, point);
  const { findings } = await verifyRepository({ repository: fresh, readFraction: 1 });
  assert.deepEqual(findings, []);
}

/** A process that has listed the index and waits for an object of it, until it is let go on. */
async function slowReader(repository: TestRepository, cache: string) {
  const [listed, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const store = onGet(repository.store, async (name) => {
    if (!name.startsWith('index/')) return;
    listed.resolve();
    await goOn.promise;
  });
  const { index } = await repository.host({ store, cache });
  const reading = index.synchronize(store);
  await listed.promise;
  return async (): Promise<void> => {
    goOn.resolve();
    await reading;
  };
}

/** Calls once, at the given read of a pack. */
function atPackRead(store: ObjectStore, read: number, call: () => Promise<void>): ObjectStore {
  let reads = 0;
  return onGet(store, async (name) => {
    if (name.startsWith('packs/') && ++reads === read) await call();
  });
}

/** Flips a bit of a pack that a chunk of the point is in, but of none of its chunks. */
async function damagePackOf(
  test: TestRepository,
  host: UnlockedRepository,
  item: string,
): Promise<void> {
  await host.index.synchronize(test.store);
  const point = (await host.points()).find((each) => each.item === item)!;
  const root = Buffer.from(point.roots[0]!.root, 'hex');
  const { children } = await host.reader().readNode(root);
  const { packNumber } = host.index.find(children[0]!)!;
  const name = packObjectName(host.index.requiredPack(packNumber).pack);
  const bytes = await getWhole(test.store, name);
  bytes[10]! ^= 1;
  await test.store.delete(name);
  await test.store.put(name, bytes);
}

test('a reader that shares the cache and is slow takes nothing from a plan', async () => {
  for (const read of [1, 2, 3]) {
    await using repository = await TestRepository.create();
    const writer = await repository.host({ cache: 'shared' });
    await protectDisk(writer, chunkRange(0, 5), { item: 'old' });
    await protectDisk(await repository.host(), chunkRange(100, 110), { item: 'of another host' });
    const finish = await slowReader(repository, 'shared');
    await protectDisk(writer, chunkRange(200, 210), { item: 'new' });
    const store = atPackRead(repository.store, read, finish);
    await collectOrBeOvertaken(await repository.host({ store, cache: 'shared' }));
    await assertWhole(repository, 'old', 'of another host', 'new');
  }
});

test('a reader that shares the cache and is slow takes nothing from what is rescued', async () => {
  for (const read of [1, 2, 3]) {
    await using repository = await TestRepository.create(SMALL_PACKS);
    const writer = await repository.host({ cache: 'shared' });
    const base = await protectDisk(writer, chunkRange(20, 30), { item: 'base' });
    const other = await repository.host();
    const session = await other.beginSession();
    const point = await writeDisk(other, session, chunkRange(20, 36), { item: 'important' });
    await writer.removePoint(base);
    assert.equal((await collect(writer)).outcome, 'waiting');
    await protectDisk(await repository.host(), chunkRange(100, 110), { item: 'third' });
    const finish = await slowReader(repository, 'shared');
    await session.commit([point]);
    const store = atPackRead(repository.store, read, finish);
    await collectOrBeOvertaken(await repository.host({ store, cache: 'shared' }));
    await protectDisk(await repository.host(), chunkRange(20, 40), { item: 'later' });
    await assertWhole(repository, 'important', 'third', 'later');
  }
});

test('an index that is made anew while a plan is made costs nothing', async () => {
  await using repository = await TestRepository.create();
  const host = await repository.host();
  const session = await host.beginSession();
  const keep = await writeDisk(host, session, chunkRange(0, 8), { item: 'keep' });
  const gone = await writeDisk(host, session, chunkRange(20, 40), { item: 'gone' });
  await session.commit([keep, gone]);
  await host.removePoint((await host.points()).find(({ item }) => item === 'gone')!);
  let isRebuilt = false;
  const store = watchedLists(repository.store, async (prefix) => {
    if (!prefix.startsWith('packs/') || isRebuilt) return;
    isRebuilt = true;
    await repairRepository({ repository: await repository.host(), rebuildIndex: true });
  });
  await collectOrBeOvertaken(await repository.host({ store }));
  assert.ok(isRebuilt);
  await assertWhole(repository, 'keep');
});

test('a repair while a collection waits names no pack that goes', async () => {
  await using repository = await TestRepository.create(SMALL_PACKS);
  const host = await repository.host();
  const session = await host.beginSession();
  const keep = await writeDisk(host, session, chunkRange(0, 8), { item: 'keep' });
  const doomed = await writeDisk(host, session, chunkRange(20, 28), { item: 'doomed' });
  await session.commit([keep, doomed]);
  await host.removePoint((await host.points()).find(({ item }) => item === 'doomed')!);
  const long = await (await repository.host()).beginSession();
  assert.equal((await collect(await repository.host())).outcome, 'waiting');
  await damagePackOf(repository, host, 'keep');
  const repaired = await repairRepository({
    repository: await repository.host(),
    rebuildIndex: false,
  });
  assert.deepEqual([repaired.packsDropped, repaired.chunksLost], [1, 0]);
  await long.abandon();
  assert.equal((await collect(await repository.host())).outcome, 'done');
  await protectDisk(await repository.host(), chunkRange(20, 28), { item: 'again' });
  await assertWhole(repository, 'keep', 'again');
});

test('a repair that ends while a plan is made keeps what it has saved', async () => {
  await using repository = await TestRepository.create(SMALL_PACKS);
  const host = await repository.host();
  await protectDisk(host, chunkRange(0, 4), { item: 'keep' });
  await host.removePoint(await protectDisk(host, chunkRange(50, 54), { item: 'gone' }));
  await damagePackOf(repository, host, 'keep');
  const goOn = Promise.withResolvers<void>();
  const planned = Promise.withResolvers<void>();
  let isPlanning = false;
  // It stands still after its plan, and before it condemns.
  const store = watchedLists(repository.store, async (prefix) => {
    if (prefix.startsWith('packs/')) isPlanning = true;
    if (prefix !== 'sessions/' || !isPlanning) return;
    isPlanning = false;
    planned.resolve();
    await goOn.promise;
  });
  let collecting: Promise<void> | undefined;
  // The pack of what was saved is stored, and no index object names it yet.
  const repairStore = onPut(repository.store, async (name) => {
    if (!name.startsWith('index/') || collecting) return;
    collecting = collectOrBeOvertaken(await repository.host({ store }));
    await planned.promise;
  });
  const options = { repository: await repository.host({ store: repairStore }) };
  const { chunksLost } = await repairRepository({ ...options, rebuildIndex: false });
  assert.equal(chunksLost, 0);
  goOn.resolve();
  await collecting;
  await assertWhole(repository, 'keep');
});

for (const isSwept of [true, false]) {
  const fate = isSwept ? 'was swept' : 'is waited for';
  test(`a session that ${fate} before it has looked begins anew`, async () => {
    await using repository = await TestRepository.create();
    const host = await repository.host();
    await protectDisk(host, chunkRange(20, 30), { item: 'base' });
    await host.removePoint(await protectDisk(host, chunkRange(90, 95), { item: 'trash' }));
    const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let isStalled = false;
    const store = watchedLists(repository.store, async (prefix) => {
      if (prefix !== 'gc/' || isStalled) return;
      isStalled = true;
      begun.resolve();
      await goOn.promise;
    });
    const slow = await repository.host({ store });
    const beginning = slow.beginSession();
    await begun.promise;
    if (isSwept) repository.clock.advance(LEASE_MS + 1);
    assert.equal((await collect(host)).outcome, isSwept ? 'done' : 'waiting');
    goOn.resolve();
    const session = await beginning;
    const point = await writeDisk(slow, session, chunkRange(20, 30), { item: 'important' });
    if (!isSwept) assert.equal((await collect(host)).outcome, 'done');
    await host.removePoint((await host.points()).find(({ item }) => item === 'base')!);
    let isCommitted = false;
    const late = onPut(repository.store, async (name) => {
      if (!name.endsWith('-sweep') || isCommitted) return;
      isCommitted = true;
      await session.commit([point]);
    });
    await collectOrBeOvertaken(await repository.host({ store: late }));
    if (!isCommitted) await session.commit([point]);
    await assertWhole(repository, 'important');
  });
}
