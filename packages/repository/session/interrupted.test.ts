/** Runs that are interrupted before they end: what they have stored is found by the next one. */
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';
import { SLAB_SIZE_BYTES, SlabPool } from '../chunk/slab.ts';
import {
  chunkRange,
  namesOf,
  readDisk,
  type StillClock,
  stillClock,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';
import type { ChunkWriter } from './chunk-writer.ts';
import { INDEX_INTERVAL_MS, INDEX_STORED_BYTES_MAX } from './pack-writer.ts';
import { LEASE_MS, type Session } from './session.ts';

/** It wakes who sleeps, unlike one that stands still. */
function steppedClock(): StillClock {
  const still = stillClock();
  const sleepers = new Set<{ wakeAtMs: number; wake: () => void }>();
  return {
    now: () => still.now(),
    advance: (durationMs) => {
      still.advance(durationMs);
      for (const sleeper of sleepers) if (sleeper.wakeAtMs <= still.now()) sleeper.wake();
    },
    sleep: (durationMs, signal) =>
      new Promise((resolve, reject) => {
        const sleeper = { wakeAtMs: still.now() + durationMs, wake };
        function wake(): void {
          sleepers.delete(sleeper);
          resolve();
        }
        signal?.addEventListener('abort', () => {
          sleepers.delete(sleeper);
          reject(signal.reason as Error);
        });
        sleepers.add(sleeper);
      }),
  };
}

/** Lets go on what waits for nothing but its turn. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

async function begun(test: TestRepository): Promise<Session> {
  return await (await test.host()).beginSession();
}

test('what is stored is named a minute later, and the next run finds it after a kill', async () => {
  const clock = steppedClock();
  await using test = await TestRepository.create({ packSizeBytes: 2000, clock });
  const host = await test.host();
  const killed = await host.beginSession();
  await writeDisk(host, killed, chunkRange(0, 10));
  await settle();
  const packs = await namesOf(test.store, 'packs/');
  assert.ok(packs.length >= 2);
  clock.advance(INDEX_INTERVAL_MS - 1);
  await settle();
  assert.deepEqual(await namesOf(test.store, 'index/'), []);
  clock.advance(1);
  await settle();
  assert.equal((await namesOf(test.store, 'index/')).length, 1);
  // More comes, and again a minute passes.
  await writeDisk(host, killed, chunkRange(10, 20));
  clock.advance(INDEX_INTERVAL_MS);
  await settle();
  assert.equal((await namesOf(test.store, 'index/')).length, 2);
  const known = [...host.index.packs()].reduce((sum, { entryCount }) => sum + entryCount, 0);
  // Nothing more comes of it.
  const second = await test.host();
  const session = await second.beginSession();
  const point = await writeDisk(second, session, chunkRange(0, 20));
  assert.equal(session.writer.statistics.chunksReused, known);
  await session.commit([point]);
  // The killed one is fenced, and its packs stay as far as the second one relies on them.
  clock.advance(2 * LEASE_MS);
  for (let round = 0; round < 2; round++) {
    const repository = await test.host();
    await collectGarbage({ repository, plan: { ...GC_PLAN_DEFAULTS, wasteMax: 0 } });
  }
  const reader = await test.host();
  const [kept] = await reader.points();
  assert.deepEqual(await readDisk(reader, kept!), chunkRange(0, 20));
  await killed.abandon();
});

test('after 256 MiB an index object comes at once', async () => {
  await using test = await TestRepository.create();
  // The bytes of packs are of no interest.
  const store = withoutPacks(test.store);
  const host = await test.host({ store });
  const session = await host.beginSession();
  await writeRandom(session.writer, INDEX_STORED_BYTES_MAX + 32 * 1024 * 1024);
  await settle();
  const [object] = await namesOf(test.store, 'index/');
  assert.ok(object !== undefined);
  const stored = [...host.index.packs()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  assert.ok(stored >= INDEX_STORED_BYTES_MAX && stored < INDEX_STORED_BYTES_MAX * 1.5);
  await session.abandon();
});

test('a session that has ended writes no index object behind its back', async () => {
  const clock = steppedClock();
  await using test = await TestRepository.create({ packSizeBytes: 2000, clock });
  const session = await begun(test);
  await writeRandom(session.writer, 100_000);
  await session.abandon();
  clock.advance(INDEX_INTERVAL_MS);
  await settle();
  assert.deepEqual(await namesOf(test.store, 'index/'), []);
});

async function writeRandom(writer: ChunkWriter, sizeBytes: number): Promise<void> {
  const random = seededRandom(7);
  const length = Math.min(1024 * 1024, sizeBytes);
  const slabs = new SlabPool(1);
  for (let left = sizeBytes; left > 0; left -= SLAB_SIZE_BYTES) {
    await slabs.use(async (slab) => {
      const spans = [];
      for (let offset = 0; offset < Math.min(left, SLAB_SIZE_BYTES); offset += length) {
        slab.bytes.set(random.bytes(32), offset);
        // What is not compressed takes as much as it is: noise that costs little to make.
        noise.copy(slab.bytes, offset + 32, 0, length - 32);
        spans.push({ offset, length });
      }
      await writer.write(slab, spans);
    });
  }
}

const noise = seededRandom(8).bytes(1024 * 1024);

function withoutPacks(store: ObjectStore): ObjectStore {
  const put: ObjectStore['put'] = async (name, bytes, options) => {
    if (!name.startsWith('packs/')) await store.put(name, bytes, options);
  };
  return new Proxy(store, {
    get(target, property) {
      if (property === 'put') return put;
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
