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
} from '../testing/test-repository.ts';
import { chunksOnlyIn } from '../tree/difference.ts';
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
