/** A job that is tried again, with what befalls its attempts: the steps that tests put together. */
import assert from 'node:assert/strict';
import { isCofferError } from '@coffer/base';
import type { ObjectInfo, ObjectStore } from '@coffer/storage/object-store.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import { finishCommittedSessions } from '../session/finish.ts';
import type { Attempt } from '../session/job.ts';
import { LEASE_MS } from '../session/session.ts';
import { chunkOf, readDisk, TestRepository, writeDisk } from './test-repository.ts';

export const KEY = 'disk/backup/2026-11-20T02:00';
export const FIRST: Attempt = { key: KEY, number: 1 };
const CHUNKS = [chunkOf(1), chunkOf(2)];

interface Outcome {
  /** Of the points of the job. */
  readonly ids: readonly string[];
  /** An earlier attempt had made them. */
  readonly isFound: boolean;
}

/** One process, on a host of its own, tries the job once. */
export async function tryJob(
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
export async function callCount(): Promise<number> {
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
export async function checkOnePoint(
  test: TestRepository,
  announced: readonly string[],
): Promise<void> {
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

/** Attempt 1 is killed after a call, and another one follows. */
export async function killedAfter(at: number, number: number): Promise<void> {
  await using test = await TestRepository.create();
  await assert.rejects(tryJob(test, FIRST, killedAt(test.store, at)), /killed/);
  const { ids } = await tryJob(test, { key: KEY, number });
  await checkOnePoint(test, ids);
}

export interface Meanwhile {
  /** The attempt that stands still. */
  readonly number: number;
  /** The one that runs then. */
  readonly other: number;
  /** Collections that follow it. */
  readonly collections: number;
}

export const MEANWHILE: readonly Meanwhile[] = [
  { number: 1, other: 1, collections: 0 },
  { number: 1, other: 1, collections: 2 },
  { number: 1, other: 2, collections: 2 },
  { number: 2, other: 1, collections: 2 },
];

/** An attempt stands still at a call while others run. */
export async function stoodStillAt(
  at: number,
  { number, other, collections }: Meanwhile,
): Promise<void> {
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

/** Long after all leases have run out. */
export async function collect(test: TestRepository): Promise<void> {
  test.clock.advance(2 * LEASE_MS);
  await collectGarbage({
    repository: await test.host(),
    plan: { ...GC_PLAN_DEFAULTS, wasteMax: 0 },
  });
}
