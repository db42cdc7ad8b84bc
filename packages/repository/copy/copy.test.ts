import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { inlineChunkPool } from '../chunk/chunk-work.ts';
import { RecordReader } from '../chunk/record-reader.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';
import { decodeIndexObject, encodeIndexObject } from '../index/index-codec.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import { Repository, type UnlockedRepository } from '../repository.ts';
import {
  chunkOf,
  chunkRange,
  getWhole,
  namesOf,
  protectDisk,
  readDisk,
  testProcesses,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';
import { chunksOnlyIn } from '../reach/difference.ts';
import { verifyRepository } from '../verify/verify.ts';
import { copyPoints } from './copy.ts';

/** Sealed chunks by id, as they lie in packs. */
async function sealedChunks({ store, index }: Repository): Promise<Map<string, string>> {
  const records = new RecordReader({ store, index });
  const sealed = new Map<string, string>();
  await index.synchronize(store);
  for (const pack of index.packs()) {
    for (const { id } of index.entriesOf(pack)) {
      const { record } = await records.fetch(id);
      sealed.set(id.toString('hex'), record.toString('hex'));
    }
  }
  return sealed;
}

const ALL = { isWanted: () => true };

test('within a key domain, points and sealed chunks arrive as they are, without a key', async () => {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ keys: source.keys, seed: 2 });
  const from = await source.host();
  const first = await protectDisk(from, chunkRange(0, 20));
  const second = await protectDisk(from, chunkRange(5, 25));
  const to = await target.lockedHost();
  const keyless = await source.lockedHost();
  const result = await copyPoints({ source: keyless, target: to, ...ALL });
  assert.ok(result.sealedAsTheyAre);
  assert.deepEqual([...result.pointsCopied].sort(), [first.id, second.id].sort());
  assert.deepEqual(await sealedChunks(to), await sealedChunks(from));
  const reader = await target.host();
  for (const [id, chunks] of [
    [first.id, chunkRange(0, 20)],
    [second.id, chunkRange(5, 25)],
  ] as const) {
    const point = (await reader.points()).find((each) => each.id === id);
    assert.deepEqual(await readDisk(reader, point!), chunks);
  }
});

test('two clones of one repository, with one folder of caches, are copied to each other', async () => {
  await using test = await TestRepository.create();
  await protectDisk(await test.host(), chunkRange(0, 10));
  const clone = openMemoryStore({ clock: test.clock });
  for (const name of await namesOf(test.store, ''))
    await clone.put(name, await getWhole(test.store, name));
  const cacheFolder = mkdtempSync(join(tmpdir(), 'coffer-clones-'));
  const { clock, random, keys } = test;
  const openAt = async (store: ObjectStore, place: string): Promise<UnlockedRepository> => {
    const index = { cacheFolder, place };
    const chunkPool = inlineChunkPool(random);
    const processes = testProcesses;
    const options = { store, index, processes, chunkPool };
    return (await Repository.open(testRun({ clock, random }), options)).unlockWith(keys);
  };
  try {
    const from = await openAt(test.store, 'first');
    const point = await protectDisk(from, chunkRange(5, 20));
    const to = await openAt(clone, 'second');
    await to.index.synchronize(clone);
    const { index } = await openAt(test.store, 'first');
    for (const name of await namesOf(test.store, 'index/')) assert.ok(index.hasObject(name));
    await index.close();
    const { pointsCopied } = await copyPoints({ source: from, target: to, ...ALL });
    assert.deepEqual(pointsCopied, [point.id]);
    assert.deepEqual(await readDisk(to, point), chunkRange(5, 20));
    assert.deepEqual((await verifyRepository({ repository: to, readFraction: 1 })).findings, []);
    for (const each of [from, to]) await each.index.close();
  } finally {
    rmSync(cacheFolder, { recursive: true });
  }
});

test('only what is missing is copied, and a second copy does nothing', async () => {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ keys: source.keys, seed: 2 });
  const [from, to] = [await source.host(), await target.host()];
  await protectDisk(from, chunkRange(0, 20));
  await copyPoints({ source: from, target: to, ...ALL });
  await protectDisk(from, chunkRange(0, 21));
  const { chunksNew, pointsCopied, pointsPresent } = await copyPoints({
    source: from,
    target: to,
    ...ALL,
  });
  // One chunk and the node over all of them.
  assert.deepEqual([chunksNew, pointsCopied.length, pointsPresent], [2, 1, 1]);
  const again = await copyPoints({ source: from, target: to, ...ALL });
  assert.deepEqual([again.chunksNew, again.pointsCopied.length, again.pointsPresent], [0, 0, 2]);
});

test('to other keys, chunks are sealed anew, and nothing is recognized by who lacks a key', async () => {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ seed: 2 });
  const [from, to] = [await source.host(), await target.host()];
  const point = await protectDisk(from, chunkRange(0, 20));
  const { sealedAsTheyAre, pointsCopied } = await copyPoints({ source: from, target: to, ...ALL });
  assert.ok(!sealedAsTheyAre);
  assert.notEqual(pointsCopied[0], point.id);
  const [copied] = await to.points();
  assert.deepEqual([copied?.item, copied?.takenAt], [point.item, point.takenAt]);
  assert.deepEqual(await readDisk(to, copied!), chunkRange(0, 20));
  const known = await sealedChunks(from);
  for (const id of (await sealedChunks(to)).keys()) assert.ok(!known.has(id));
  assert.deepEqual((await verifyRepository({ repository: to, readFraction: 1 })).findings, []);
  const again = await copyPoints({ source: from, target: to, ...ALL });
  assert.deepEqual(again.pointsCopied, []);
  const locked = await source.lockedHost();
  await using third = await TestRepository.create({ seed: 3 });
  await assert.rejects(
    copyPoints({ source: locked, target: await third.host(), ...ALL }),
    (error) => isCofferError(error, 'passphrase-missing'),
  );
});

test('the difference of two trees is what the change is, in either direction', async () => {
  await using repository = await TestRepository.create();
  const host = await repository.host();
  const roots = [];
  for (const chunks of [chunkRange(0, 600), [...chunkRange(0, 599), chunkOf(999)]]) {
    const { root } = (await protectDisk(host, chunks)).roots[0]!;
    roots.push(Buffer.from(root, 'hex'));
  }
  const { store, index } = host;
  const records = new RecordReader({ store, index });
  for (const [one, other] of [roots, roots.toReversed()]) {
    const found = [];
    for await (const { id, places } of chunksOnlyIn([one!], [other!], { index, records })) {
      assert.equal(places.length, 1);
      found.push(id);
    }
    assert.equal(found.length, 3, 'a root, a leaf and a chunk');
  }
  for await (const _ of chunksOnlyIn([roots[0]!], [roots[0]!], { index, records })) {
    assert.fail('equal trees do not differ');
  }
});

test('with other keys, points of one item and time are all copied, and each once', async () => {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ seed: 2 });
  await using third = await TestRepository.create({ seed: 3 });
  const [from, to, on] = [await source.host(), await target.host(), await third.host()];
  for (const chunks of [chunkRange(0, 5), chunkRange(5, 9)]) {
    await protectDisk(from, chunks, { takenAt: 7 });
  }
  for (const copied of [2, 0]) {
    const { pointsCopied } = await copyPoints({ source: from, target: to, ...ALL });
    assert.equal(pointsCopied.length, copied);
  }
  // A copy of a copy is one of the first point: by whichever way it comes, and back.
  await copyPoints({ source: to, target: on, ...ALL });
  for (const [one, other] of [
    [from, on],
    [on, from],
    [on, to],
  ] as const) {
    const again = await copyPoints({ source: one, target: other, ...ALL });
    assert.deepEqual([again.pointsCopied, again.pointsPresent], [[], 2]);
  }
  const contents = await Promise.all((await on.points()).map((point) => readDisk(on, point)));
  assert.deepEqual(
    contents.map(({ length }) => length).sort((a, b) => a - b),
    [4, 5],
  );
});

for (const sizeDifference of [-1, 1, 5_000_000]) {
  test(`a pack that is said to be ${sizeDifference} bytes larger is copied, and that is told`, async () => {
    await using source = await TestRepository.create();
    await using target = await TestRepository.create({ keys: source.keys, seed: 2 });
    const point = await protectDisk(await source.host(), chunkRange(0, 20));
    for (const name of await namesOf(source.store, 'index/')) {
      const packs = decodeIndexObject({ name, bytes: await getWhole(source.store, name) });
      const lies = packs.map((pack) => ({ ...pack, sizeBytes: pack.sizeBytes + sizeDifference }));
      const lying = encodeIndexObject(lies, 0);
      await source.store.delete(name);
      await source.store.put(lying.name, lying.bytes);
    }
    const pair = { source: await source.lockedHost(), target: await target.lockedHost() };
    const { pointsCopied, findings } = await copyPoints({ ...pair, ...ALL });
    assert.deepEqual(pointsCopied, [point.id]);
    assert.deepEqual([...new Set(findings.map(({ code }) => code))], ['object-damaged']);
    assert.deepEqual(await readDisk(await target.host(), point), chunkRange(0, 20));
    assert.deepEqual(await readDisk(await source.host(), point), chunkRange(0, 20));
  });
}

/** The target loses the index objects of its first point; of how many chunks the second one is made. */
async function copyAfterLoss(isCollected: boolean): Promise<number> {
  await using source = await TestRepository.create();
  await using target = await TestRepository.create({ keys: source.keys, seed: 2 });
  const from = await source.host();
  const first = await protectDisk(from, chunkRange(0, 20), { takenAt: 1 });
  await copyPoints({ source: from, target: await target.lockedHost(), ...ALL });
  if (isCollected) {
    const host = await target.host();
    await host.removePoint(await protectDisk(host, chunkRange(90, 95), { item: 'removed' }));
    const plan = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };
    assert.equal((await collectGarbage({ repository: host, plan })).outcome, 'done');
    // What it has moved lies in a new pack, which goes with its index object.
    for (const name of await namesOf(target.store, 'packs/')) await target.store.delete(name);
  }
  for (const name of await namesOf(target.store, 'index/')) await target.store.delete(name);
  const second = await protectDisk(from, chunkRange(0, 21), { takenAt: 2 });
  const copy = { source: from, target: await target.lockedHost(), isWanted: isSecond };
  function isSecond({ id }: RecoveryPoint): boolean {
    return id === second.id;
  }
  const { chunksNew } = await copyPoints(copy);
  assert.deepEqual(await readDisk(await target.host(), second), chunkRange(0, 21));
  assert.notEqual(first.id, second.id);
  return chunksNew;
}

test('a copy is not built on a base whose index objects are lost', async () => {
  assert.equal(await copyAfterLoss(false), 22);
  assert.equal(await copyAfterLoss(true), 22);
});

test('a base may lack its index when an older pack is in none, not when a session runs', async () => {
  await using test = await TestRepository.create({ packSizeBytes: 2000 });
  const host = await test.host();
  const base = await protectDisk(host, chunkRange(0, 20));
  const listedAt = (await host.listedAt(base))!;
  test.clock.advance(1000);
  const running = await test.host();
  const writing = await running.beginSession();
  await writeDisk(running, writing, chunkRange(50, 60));
  const packs = await namesOf(test.store, 'packs/');
  const mayLack = async (): Promise<boolean> => {
    const session = await (await test.lockedHost()).beginMove();
    await session.abandon();
    return session.mayLackIndexOf(listedAt);
  };
  assert.equal(await mayLack(), false);
  assert.ok(packs.length > [...host.index.packs()].length, 'some are in no index object yet');
  await writing.abandon();
  for (const name of await namesOf(test.store, 'index/')) await test.store.delete(name);
  assert.equal(await mayLack(), true);
});
