/** Jobs that are tried again: killed at each call, two at once, late ones, and collections between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import type { ObjectInfo, ObjectStore } from '@coffer/storage/object-store.ts';
import { appendOnly } from '@coffer/storage/testing/append-only.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import {
  chunkOf,
  getWhole,
  namesOf,
  readDisk,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';
import { finishCommittedSessions } from './finish.ts';
import { type Attempt, decodeJob, jobIdOf, jobName } from './job.ts';
import { LEASE_MS } from './session.ts';
import { listSessions, writeEnd } from './session-record.ts';

const KEY = 'disk/backup/2026-11-20T02:00';
const FIRST: Attempt = { key: KEY, number: 1 };
const CHUNKS = [chunkOf(1), chunkOf(2)];

interface Outcome {
  /** Of the points of the job. */
  readonly ids: readonly string[];
  /** An earlier attempt had made them. */
  readonly isFound: boolean;
}

/** One process, on a host of its own, tries the job once. */
async function tryJob(
  test: TestRepository,
  attempt: Attempt,
  store: ObjectStore = test.store,
): Promise<Outcome> {
  const host = await test.host({ store });
  const begun = await host.beginAttempt(attempt);
  if (begun.outcome === 'committed') {
    return { ids: begun.result.points.map(({ id }) => id), isFound: true };
  }
  const point = await writeDisk(host, begun.session, CHUNKS);
  await begun.session.commit([point]);
  return { ids: [point.id], isFound: false };
}

type Moment = 'before' | 'after';
/** What happens at each call, by its number. */
type AtCall = (call: number, moment: Moment) => Promise<void> | void;

const CALLS: ReadonlySet<string> = new Set(['put', 'get', 'getRange', 'getInto', 'stat', 'delete']);

/** A store that tells of each call before it is made, and after. */
function watched(store: ObjectStore, tell: AtCall): ObjectStore {
  let calls = 0;
  const around = async <T>(task: () => Promise<T>): Promise<T> => {
    const call = calls++;
    await tell(call, 'before');
    const result = await task();
    await tell(call, 'after');
    return result;
  };
  async function* list(prefix: string): AsyncIterable<ObjectInfo> {
    yield* await around(async () => await Array.fromAsync(store.list(prefix)));
  }
  return new Proxy(store, {
    get(target, property) {
      if (property === 'list') return list;
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      const call = value.bind(target) as (...words: unknown[]) => Promise<unknown>;
      if (!CALLS.has(String(property))) return call;
      return (...words: unknown[]) => around(() => call(...words));
    },
  });
}

/** A process that is killed after a call: nothing of it has an effect after that. */
function killedAt(store: ObjectStore, at: number): ObjectStore {
  return watched(store, (call, now) => {
    if (call > at || (call === at && now === 'after')) throw new Error('killed');
  });
}

/** A process that stands still at a call, while something else happens. */
function stoppedAt(store: ObjectStore, at: number, meanwhile: () => Promise<void>): ObjectStore {
  return watched(store, async (call, now) => {
    if (call === at && now === 'before') await meanwhile();
  });
}

/** How many calls one attempt makes that nobody disturbs. */
async function callCount(): Promise<number> {
  await using test = await TestRepository.create();
  let count = 0;
  await tryJob(
    test,
    FIRST,
    watched(test.store, (call) => void (count = call + 1)),
  );
  return count;
}

/** One point is there, it is whole, it is what was announced, and later attempts find it. */
async function checkOnePoint(test: TestRepository, announced: readonly string[]): Promise<void> {
  await finishCommittedSessions(test.store);
  const host = await test.host();
  const points = await host.points();
  assert.equal(points.length, 1);
  const [{ id }] = points as [RecoveryPoint];
  assert.deepEqual(
    announced.filter((each) => each !== id),
    [],
  );
  assert.deepEqual(await readDisk(host, points[0]!), CHUNKS);
  assert.deepEqual(await tryJob(test, { key: KEY, number: 9 }), { ids: [id], isFound: true });
  assert.equal((await host.points()).length, 1);
}

test('an attempt leaves its point and the record of its job, and a later one finds it', async () => {
  await using test = await TestRepository.create();
  const { ids } = await tryJob(test, FIRST);
  assert.deepEqual(await namesOf(test.store, 'sessions/'), []);
  const name = jobName(jobIdOf(FIRST));
  assert.deepEqual(await namesOf(test.store, 'jobs/'), [name]);
  const { points } = decodeJob(await getWhole(test.store, name), name);
  assert.deepEqual(points, [{ id: ids[0], item: 'disk' }]);
  for (const number of [1, 2, 7]) {
    assert.deepEqual(await tryJob(test, { key: KEY, number }), { ids, isFound: true });
  }
  assert.ok(!(await tryJob(test, { key: `${KEY}+1`, number: 1 })).isFound);
  assert.equal((await (await test.host()).points()).length, 2);
});

for (const number of [1, 2]) {
  test(`killed after any call, attempt 1 has made the point, or attempt ${number} does`, async () => {
    const calls = await callCount();
    for (let at = 0; at < calls; at++) {
      await using test = await TestRepository.create();
      await assert.rejects(tryJob(test, FIRST, killedAt(test.store, at)), /killed/);
      const { ids } = await tryJob(test, { key: KEY, number });
      await checkOnePoint(test, ids);
    }
  });
}

const MEANWHILE = [
  { number: 1, other: 1, collections: 0 },
  { number: 1, other: 1, collections: 2 },
  { number: 1, other: 2, collections: 2 },
  { number: 2, other: 1, collections: 2 },
] as const;

for (const { number, other, collections } of MEANWHILE) {
  const between = `attempt ${other} and ${collections} collections run while attempt ${number} stands still`;
  test(`one point is made when ${between}, at any call`, async () => {
    const calls = await callCount();
    for (let at = 0; at < calls; at++) {
      await using test = await TestRepository.create();
      const announced: string[] = [];
      const run = async (attempt: number, store = test.store): Promise<void> => {
        try {
          announced.push(...(await tryJob(test, { key: KEY, number: attempt }, store)).ids);
        } catch (error) {
          // Another one was faster.
          if (!isCofferError(error, 'session-fenced')) throw error;
        }
      };
      const meanwhile = async (): Promise<void> => {
        await run(other);
        for (let left = collections; left > 0; left--) await collect(test);
      };
      await run(number, stoppedAt(test.store, at, meanwhile));
      if (announced.length === 0) await run(3);
      await checkOnePoint(test, announced);
    }
  });
}

/** Long after all leases have run out. */
async function collect(test: TestRepository): Promise<void> {
  test.clock.advance(2 * LEASE_MS);
  await collectGarbage({
    repository: await test.host(),
    plan: { ...GC_PLAN_DEFAULTS, wasteMax: 0 },
  });
}

test('an end that somebody has forged is no result of a job', async () => {
  await using test = await TestRepository.create();
  await (await test.host()).beginAttempt(FIRST);
  const [session] = await listSessions(test.store);
  const forged = { session: session!.session, outcome: 'committed', generation: 0 } as const;
  await writeEnd(test.store, { ...forged, points: [] });
  const { ids, isFound } = await tryJob(test, { key: KEY, number: 2 });
  assert.ok(!isFound);
  await checkOnePoint(test, ids);
});

test('records of jobs that nobody tries any more go', async () => {
  await using test = await TestRepository.create();
  await tryJob(test, FIRST);
  test.clock.advance(30 * 24 * 3_600_000);
  await tryJob(test, { key: `${KEY}+1`, number: 1 });
  test.clock.advance(10 * 24 * 3_600_000);
  await collect(test);
  const left = jobName(jobIdOf({ key: `${KEY}+1`, number: 1 }));
  assert.deepEqual(await namesOf(test.store, 'jobs/'), [left]);
});

test('where the store finishes sessions, the end of an earlier attempt is its result', async () => {
  await using test = await TestRepository.create();
  const gateway = appendOnly(test.store, { finishesSessions: true });
  const { ids } = await tryJob(test, FIRST, gateway);
  assert.deepEqual(await namesOf(test.store, 'jobs/'), []);
  const again = await tryJob(test, { key: KEY, number: 2 }, gateway);
  assert.deepEqual(again, { ids, isFound: true });
  // The store does its part.
  await checkOnePoint(test, ids);
  assert.deepEqual(await tryJob(test, FIRST, gateway), { ids, isFound: true });
});

test('a key is named, and attempts are counted from one', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  for (const attempt of [
    { key: '', number: 1 },
    { key: 'x'.repeat(2000), number: 1 },
    { key: KEY, number: 0 },
    { key: KEY, number: 65_536 },
    { key: KEY, number: 1.5 },
  ]) {
    await assert.rejects(host.beginAttempt(attempt), (error) => isCofferError(error, 'usage'));
  }
});
