/** Hosts whose clocks are wrong, or stand still, beside a store that has its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Clock, collecting, isCofferError } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { LEASE_MS } from '../session/session.ts';
import { encodeJob, jobIdOf, jobName } from '../session/job.ts';
import {
  chunkRange,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { probeName } from './leftovers.ts';
import { GC_PLAN_DEFAULTS } from './plan.ts';
import { collectGarbage, type GcResult } from './run.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };

interface Collected {
  readonly outcome: GcResult['outcome'];
  readonly codes: readonly string[];
}

/** By a host whose clock is so much ahead of that of the store. */
async function collectWith(test: TestRepository, aheadMs: number): Promise<Collected> {
  const clock: Clock = { ...test.clock, now: () => test.clock.now() + aheadMs };
  const { run, findings } = collecting(testRun({ clock, random: test.random }));
  const host = await test.host();
  const { outcome } = await collectGarbage({ repository: host.during(run), plan: EAGER });
  return { outcome, codes: findings.map(({ code }) => code) };
}

const DIFFERENCES: Readonly<Record<string, number>> = {
  'three hours ahead': 3 * HOUR_MS,
  'five hours behind': -5 * HOUR_MS,
  'ten days behind': -10 * DAY_MS,
  'a year ahead': 365 * DAY_MS,
};

for (const [what, aheadMs] of Object.entries(DIFFERENCES)) {
  test(`a collector whose clock is ${what} ends no session that lives, and each that does not`, async () => {
    await using test = await TestRepository.create();
    const writer = await test.host();
    const session = await writer.beginSession();
    const point = await writeDisk(writer, session, chunkRange(0, 10));
    await writer.removePoint(await protectDisk(writer, chunkRange(20, 30)));
    const waiting = await collectWith(test, aheadMs);
    assert.deepEqual(waiting, { outcome: 'waiting', codes: ['clock-differs'] });
    await session.commit([point]);
    const dead = await writer.beginSession();
    assert.equal((await collectWith(test, aheadMs)).outcome, 'done');
    const [made] = await writer.points();
    assert.deepEqual(await readDisk(await test.host(), made!), chunkRange(0, 10));
    await writer.removePoint(await protectDisk(writer, chunkRange(40, 50)));
    assert.equal((await collectWith(test, aheadMs)).outcome, 'waiting');
    test.clock.advance(LEASE_MS + 1);
    assert.equal((await collectWith(test, aheadMs)).outcome, 'done');
    await assert.rejects(dead.commit([]), (error) => isCofferError(error, 'session-fenced'));
    const { findings } = await verifyRepository({ repository: writer, readFraction: 1 });
    assert.deepEqual(findings, []);
  });

  test(`a collector whose clock is ${what} removes no note, job or probe that is needed`, async () => {
    await using test = await TestRepository.create();
    const host = await test.host();
    const point = await protectDisk(host, chunkRange(0, 10));
    const hidden = await protectDisk(host, chunkRange(60, 70));
    const removed = await protectDisk(host, chunkRange(40, 50));
    await host.removePoint(await protectDisk(host, chunkRange(20, 30)));
    // Its sweep names the point that is removed then.
    await collectWith(test, 0);
    await host.removePoint(removed);
    await host.hold(point, { holder: 'person', reason: 'kept', by: 'somebody' });
    await host.softDelete(hidden, { until: test.clock.now() + DAY_MS, by: 'somebody' });
    const job = jobIdOf({ key: 'job', number: 1 });
    await test.store.put(jobName(job), encodeJob({ job, session: 'ab'.repeat(16), points: [] }));
    await test.store.put(probeName(test.random), Buffer.from('looks'));
    const prefixes = ['holds/', 'deleted/', 'jobs/', 'probes/'];
    const counts = async (): Promise<number[]> =>
      await Promise.all(prefixes.map(async (each) => (await namesOf(test.store, each)).length));
    assert.deepEqual((await namesOf(test.store, 'removed/')).length, 1);
    await collectWith(test, aheadMs);
    assert.deepEqual(await counts(), [1, 1, 1, 1]);
    test.clock.advance(36 * DAY_MS);
    await collectWith(test, aheadMs);
    assert.deepEqual(await counts(), [1, 1, 0, 0]);
    const { findings } = await verifyRepository({ repository: host, readFraction: 1 });
    assert.deepEqual(findings, []);
    for (const [each, from] of [
      [point, 0],
      [hidden, 60],
    ] as const) {
      assert.deepEqual(await readDisk(await test.host(), each), chunkRange(from, from + 10));
    }
  });
}

test('a clock that is right within minutes is not told of', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  await host.beginSession();
  await host.removePoint(await protectDisk(host, chunkRange(20, 30)));
  assert.deepEqual(await collectWith(test, 5 * 60_000), { outcome: 'waiting', codes: [] });
});

test('a writer whose clock stands still is seen by its signs of life, and makes its point', async () => {
  await using test = await TestRepository.create();
  const stood = test.clock.now();
  const clock: Clock = { ...test.clock, now: () => stood };
  const writer = (await test.host()).during(testRun({ clock, random: test.random }));
  const host = await test.host();
  const session = await writer.beginSession();
  const point = await writeDisk(writer, session, chunkRange(0, 10), { takenAt: stood });
  await host.removePoint(await protectDisk(host, chunkRange(20, 30)));
  for (let renewal = 1; renewal <= 12; renewal++) {
    test.clock.advance(LEASE_MS / 2);
    await test.store.put(
      `sessions/${session.id}-renewed-${String(renewal).padStart(6, '0')}`,
      Buffer.alloc(0),
    );
    assert.equal((await collectWith(test, 0)).outcome, 'waiting');
  }
  await session.commit([point]);
  assert.equal((await collectWith(test, 0)).outcome, 'done');
  const [made] = await host.points();
  assert.deepEqual(await readDisk(await test.host(), made!), chunkRange(0, 10));
});

test('while the clock of the store stands still nobody is ended, and nothing is lost', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  const session = await host.beginSession();
  const point = await writeDisk(host, session, chunkRange(0, 10));
  await host.removePoint(await protectDisk(host, chunkRange(20, 30)));
  for (const days of [0, 1, 400]) {
    const { outcome } = await collectWith(test, days * DAY_MS);
    assert.equal(outcome, 'waiting');
  }
  await session.commit([point]);
  assert.equal((await collectWith(test, 400 * DAY_MS)).outcome, 'done');
  const [made] = await host.points();
  assert.deepEqual(await readDisk(await test.host(), made!), chunkRange(0, 10));
});
