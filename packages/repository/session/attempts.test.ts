/**
 * Jobs that are tried again: killed at calls, two at once, late ones, and collections between. All
 * calls have their turn in the night.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isCofferError, systemRandom } from '@coffer/base';
import { appendOnly } from '@coffer/storage/testing/append-only.ts';
import {
  callCount,
  checkOnePoint,
  collect,
  FIRST,
  KEY,
  killedAfter,
  MEANWHILE,
  stoodStillAt,
  tryJob,
} from '../testing/attempts.ts';
import { getWhole, namesOf, TestRepository } from '../testing/test-repository.ts';
import { decodeJob, jobIdOf, jobName } from './job.ts';
import { listSessions, writeEnd } from './session-record.ts';

/** Every so many calls one is tried, from a random one on. */
const STEP = 8;

async function someCalls(context: TestContext): Promise<number[]> {
  const first = Math.floor(systemRandom.fraction() * STEP);
  context.diagnostic(`every ${STEP}th call from ${first} on`);
  const calls = await callCount();
  return Array.from({ length: calls }, (_, at) => at).filter((at) => at % STEP === first);
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
  test(`killed after a call, attempt 1 has made the point, or attempt ${number} does`, async (context) => {
    for (const at of await someCalls(context)) await killedAfter(at, number);
  });
}

for (const meanwhile of MEANWHILE) {
  const { number, other, collections } = meanwhile;
  const between = `attempt ${other} and ${collections} collections run while attempt ${number} stands still`;
  test(`one point is made when ${between}, at a call`, async (context) => {
    for (const at of await someCalls(context)) await stoodStillAt(at, meanwhile);
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
