/** Copies of single points between repositories of many. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import type { RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { counted, putPacks, putPoints } from '../testing/large-repository.ts';
import {
  chunkRange,
  namesOf,
  onPut,
  protectDisk,
  readDisk,
  TestRepository,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { copyPoints } from './copy.ts';

const MANY = 5000;
const ITEMS = 500;

/** With many points and packs. */
async function enlarge({ keys, random, store }: TestRepository): Promise<void> {
  const put = (name: string, bytes: Buffer): Promise<void> => store.put(name, bytes);
  await putPacks(random, MANY, put);
  await putPoints({ ...keys, random }, { count: MANY, itemCount: ITEMS }, put);
}

async function copyOf(target: Repository, { id, item }: RecoveryPoint): Promise<RecoveryPoint> {
  const points = await target.points({ filter: { item } });
  return points.find((point) => point.id === id)!;
}

const KEYS = ['of one key domain', 'with other keys'] as const;
const CACHES = ['that is known', 'that is new here'] as const;

for (const [keys, cache] of KEYS.flatMap((each) => CACHES.map((other) => [each, other] as const))) {
  test(`one of many points is copied without a list, ${keys}, to a target ${cache}`, async () => {
    await using source = await TestRepository.create();
    const shared = keys === 'of one key domain' ? { keys: source.keys } : {};
    await using target = await TestRepository.create({ ...shared, seed: 2 });
    for (const each of [source, target]) await enlarge(each);
    const host = await source.host();
    const item = 'item-7';
    const first = await protectDisk(host, chunkRange(0, 200), { item });
    const second = await protectDisk(host, chunkRange(5, 205), {
      item,
      takenAt: first.takenAt + 1,
    });
    const [from, to] = [counted(source.store), counted(target.store)];
    const pair = {
      source: await source.host({ store: from.store }),
      target: await target.host({ store: to.store }),
    };
    // The index objects are read once.
    const known = cache === 'that is known' ? [pair.source, pair.target] : [pair.source];
    for (const each of known) await each.index.synchronize(each.store);
    for (const [point, chunksMax] of [
      [first, 201],
      [second, 6],
      [second, 0],
    ] as const) {
      for (const { asked } of [from, to]) Object.assign(asked, { calls: 0, namesListed: 0 });
      const { chunksNew, findings } = await copyPoints({ ...pair, points: [point] });
      assert.deepEqual(findings, []);
      assert.ok(chunksNew <= chunksMax, `${chunksNew} chunks`);
      const isReading = cache !== 'that is known' && point === first;
      for (const { asked } of [from, to]) {
        assert.ok(asked.calls < (isReading ? 200 : 70), `${asked.calls} calls`);
        assert.ok(asked.namesListed < 200, `${asked.namesListed} names`);
      }
    }
    const reader = await target.host();
    const copies = (await reader.points({ filter: { item } })).sort(
      (a, b) => a.takenAt - b.takenAt,
    );
    const [copyOfFirst, copyOfSecond] = copies.slice(-2);
    assert.deepEqual(await readDisk(reader, copyOfFirst!), chunkRange(0, 200));
    assert.deepEqual(await readDisk(reader, copyOfSecond!), chunkRange(5, 205));
  });
}

for (const lost of ['packs/', 'index/'] as const) {
  test(`a point that is given is copied whole, though the target has lost ${lost}`, async () => {
    await using source = await TestRepository.create();
    await using target = await TestRepository.create({ keys: source.keys, seed: 2 });
    const host = await source.host();
    const first = await protectDisk(host, chunkRange(0, 20), { takenAt: 1 });
    const second = await protectDisk(host, chunkRange(0, 21), { takenAt: 2 });
    const to = await target.lockedHost();
    await copyPoints({ source: host, target: to, points: [first] });
    for (const name of await namesOf(target.store, lost)) await target.store.delete(name);
    // Many more packs are there than the point has chunks.
    await putPacks(source.random, 100, (name, bytes) => target.store.put(name, bytes));
    await copyPoints({ source: host, target: await target.lockedHost(), points: [second] });
    const reader = await target.host();
    assert.deepEqual(await readDisk(reader, await copyOf(reader, second)), chunkRange(0, 21));
  });
}

test('a pack that goes while a point is copied makes no point, and the next copy is whole', async () => {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ keys: source.keys, seed: 2 });
  const host = await source.host();
  const point = await protectDisk(host, chunkRange(0, 20));
  await protectDisk(await target.host(), chunkRange(0, 10), { item: 'other' });
  const found = await namesOf(target.store, 'packs/');
  await putPacks(source.random, 100, (name, bytes) => target.store.put(name, bytes));
  // What was found there goes before the session ends.
  const losing = onPut(target.store, async (name) => {
    if (name.startsWith('index/')) for (const pack of found) await target.store.delete(pack);
  });
  const to = await target.lockedHost({ store: losing });
  const copying = copyPoints({ source: host, target: to, points: [point] });
  await assert.rejects(copying, (error) => isCofferError(error, 'store-rolled-back'));
  await copyPoints({ source: host, target: await target.lockedHost(), points: [point] });
  const reader = await target.host();
  assert.deepEqual(await readDisk(reader, await copyOf(reader, point)), chunkRange(0, 20));
});

test('points that are given are copied with other keys, too, each once', async () => {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ seed: 2 });
  const [from, to] = [await source.host(), await target.host()];
  const point = await protectDisk(from, chunkRange(0, 20));
  for (const copied of [1, 0]) {
    const { pointsCopied } = await copyPoints({ source: from, target: to, points: [point] });
    assert.equal(pointsCopied.length, copied);
  }
  assert.deepEqual((await verifyRepository({ repository: to, readFraction: 1 })).findings, []);
});
