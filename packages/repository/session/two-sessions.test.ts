import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ChunkPool, inlineChunkPool } from '../chunk/chunk-work.ts';
import { startChunkThreads } from '../chunk/threads.ts';
import {
  chunkRange,
  namesOf,
  onPut,
  readDisk,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';

const POOLS: Record<string, (test: TestRepository) => ChunkPool> = {
  'of this thread': ({ random }) => inlineChunkPool(random),
  'of worker threads': () => startChunkThreads(2),
};

for (const [kind, start] of Object.entries(POOLS)) {
  test(`two sessions of one repository share a pool ${kind}, and no pack`, async () => {
    await using test = await TestRepository.create();
    const pool = start(test);
    let failsNext = false;
    const store = onPut(test.store, (name) => {
      if (!failsNext || !name.startsWith('packs/')) return;
      failsNext = false;
      throw new Error('the store fails once');
    });
    const repository = await test.host({ store, pool });
    const lost = await repository.beginSession();
    const kept = await repository.beginSession();
    // Equal chunks: what the first one has sealed must not be taken for stored by the second one.
    await writeDisk(repository, lost, chunkRange(0, 20));
    const point = await writeDisk(repository, kept, chunkRange(10, 30));
    failsNext = true;
    await assert.rejects(lost.commit([]), /fails once/);
    await lost.abandon();
    await kept.commit([point]);
    const [stored] = await repository.points();
    assert.equal(stored?.id, point.id);
    const reader = await test.host();
    assert.deepEqual(await readDisk(reader, stored), chunkRange(10, 30));
    await pool.close();
  });

  test(`an abandoned session leaves no chunk in the packs of the next one, ${kind}`, async () => {
    await using test = await TestRepository.create();
    const pool = start(test);
    const repository = await test.host({ pool });
    const first = await repository.beginSession();
    await writeDisk(repository, first, chunkRange(0, 5));
    await first.abandon();
    const second = await repository.beginSession();
    await second.commit([await writeDisk(repository, second, chunkRange(5, 6))]);
    const entryCount = [...repository.index.packs()].reduce(
      (sum, pack) => sum + pack.entryCount,
      0,
    );
    assert.equal(entryCount, 2, 'one chunk and its node');
    await pool.close();
  });
}

test('two sessions at once both commit, and what one of them abandons is not missed', async () => {
  await using test = await TestRepository.create({ packSizeBytes: 2000 });
  const repository = await test.host();
  const sessions = await Promise.all([1, 2, 3].map(() => repository.beginSession()));
  const points = await Promise.all(
    sessions.map((session, index) =>
      writeDisk(repository, session, chunkRange(index, index + 20), { item: `disk ${index}` }),
    ),
  );
  await sessions[0]!.abandon();
  await sessions[1]!.commit([points[1]!]);
  await sessions[2]!.commit([points[2]!]);
  const reader = await test.host();
  const stored = await reader.points();
  assert.equal(stored.length, 2);
  for (const point of stored) {
    const from = Number(point.item.slice('disk '.length));
    assert.deepEqual(await readDisk(reader, point), chunkRange(from, from + 20));
  }
});

test('an abandoned session has ended: nothing is uploaded behind its back', async () => {
  await using test = await TestRepository.create({ packSizeBytes: 1000 });
  const gate = Promise.withResolvers<void>();
  const store = onPut(test.store, async (name) => {
    if (name.startsWith('packs/')) await gate.promise;
  });
  const repository = await test.host({ store });
  const session = await repository.beginSession();
  await writeDisk(repository, session, chunkRange(0, 3));
  const abandoned = session.abandon();
  gate.resolve();
  await abandoned;
  const packs = await namesOf(test.store, 'packs/');
  await new Promise((done) => setImmediate(done));
  assert.deepEqual(await namesOf(test.store, 'packs/'), packs);
});
