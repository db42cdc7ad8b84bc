import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import {
  getWhole,
  chunkRange,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from '../testing/test-repository.ts';
import { diskLeaves } from '../tree/disk-tree.ts';
import type { ChunkRequest } from './chunk-reader.ts';
import type { UnlockedRepository } from '../repository.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import { SlabPool } from './slab.ts';

async function requestsOf(
  repository: UnlockedRepository,
  point: RecoveryPoint,
): Promise<ChunkRequest[]> {
  const { root, sizeBytes } = point.roots[0]!;
  const disk = { root: Buffer.from(root, 'hex'), sizeBytes };
  const requests: ChunkRequest[] = [];
  for await (const { ids } of diskLeaves(repository.reader(), disk)) {
    for (const id of ids ?? [])
      requests.push({ id, length: 600, targetOffset: requests.length * 600 });
  }
  return requests;
}

test('a reader finds chunks again that a collection moved while it read', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const kept = await protectDisk(writer, chunkRange(0, 10));
  const removed = await protectDisk(writer, chunkRange(10, 20));
  const reader = await test.host();
  await reader.index.synchronize(test.store);
  const requests = await requestsOf(reader, kept);
  const before = new Set(await namesOf(test.store, 'packs/'));
  await writer.removePoint(removed);
  // Packs of both points are joined to new ones, and the old ones go.
  const plan = { ...GC_PLAN_DEFAULTS, smallPacksMax: 0 };
  assert.equal((await collectGarbage({ repository: writer, plan })).outcome, 'done');
  const after = await namesOf(test.store, 'packs/');
  assert.ok(after.every((name) => !before.has(name)));
  const slabs = new SlabPool(1);
  await slabs.use(async (slab) => {
    assert.deepEqual(await reader.reader().readInto(slab, requests, reader.work), []);
    chunkRange(0, 10).forEach((chunk, index) => {
      assert.ok(slab.bytes.subarray(index * 600, index * 600 + 600).equals(chunk));
    });
  });
  assert.deepEqual(await readDisk(reader, kept), chunkRange(0, 10));
});

test('what is damaged is told chunk by chunk, and all else is read', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const point = await protectDisk(writer, chunkRange(0, 10));
  const requests = await requestsOf(writer, point);
  const victim = writer.index.find(requests[4]!.id)!;
  const name = packObjectName(writer.index.requiredPack(victim.packNumber).pack);
  const bytes = await getWhole(test.store, name);
  bytes[victim.offset + 5]! ^= 1;
  await test.store.delete(name);
  await test.store.put(name, bytes);
  const reader = await test.host();
  await reader.index.synchronize(test.store);
  await new SlabPool(1).use(async (slab) => {
    const failures = await reader.reader().readInto(slab, requests, reader.work);
    assert.deepEqual(
      failures.map(({ request, error }) => [request, error.code]),
      [[requests[4], 'chunk-damaged']],
    );
    chunkRange(0, 10).forEach((chunk, index) => {
      if (index === 4) return;
      assert.ok(slab.bytes.subarray(index * 600, index * 600 + 600).equals(chunk));
    });
  });
});

test('chunks of a pack that is gone, and of another length, are told as such', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const requests = await requestsOf(writer, await protectDisk(writer, chunkRange(0, 3)));
  await new SlabPool(1).use(async (slab) => {
    const wrong = requests.map((request) => ({ ...request, length: 599 }));
    const failed = await writer.reader().readInto(slab, wrong, writer.work);
    assert.deepEqual(new Set(failed.map(({ error }) => error.code)), new Set(['chunk-damaged']));
    for (const name of await namesOf(test.store, 'packs/')) await test.store.delete(name);
    const missing = await writer.reader().readInto(slab, requests, writer.work);
    assert.deepEqual(new Set(missing.map(({ error }) => error.code)), new Set(['chunk-missing']));
  });
  await assert.rejects(writer.reader().readData(requests[0]!.id), (error) =>
    isCofferError(error, 'chunk-missing'),
  );
});
