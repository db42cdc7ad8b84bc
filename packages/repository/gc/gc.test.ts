import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, type ProcessIdentity, systemProcesses } from '@coffer/base';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import { faulty } from '@coffer/storage/testing/faulty.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import type { Repository } from '../repository.ts';
import { LEASE_MS } from '../session/session.ts';
import { beginName, encodeBegin } from '../session/session-record.ts';
import {
  getWhole,
  chunkRange,
  namesOf,
  onPut,
  protectDisk,
  readDisk,
  stillClock,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { probeName } from './leftovers.ts';
import { GC_PLAN_DEFAULTS } from './plan.ts';
import { collectGarbage, type GcResult } from './run.ts';

const BY_PERSON = { holder: 'person', reason: '', by: 'somebody' };
const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };

async function collect(repository: Repository): Promise<GcResult['outcome']> {
  return (await collectGarbage({ repository, plan: EAGER })).outcome;
}

async function assertSound(repository: Repository): Promise<void> {
  assert.deepEqual((await verifyRepository({ repository, readFraction: 1 })).findings, []);
}

test('deleting a point touches no other, and its own chunks go', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const states = [chunkRange(0, 20), chunkRange(10, 30), chunkRange(20, 40)];
  const points = [];
  for (const chunks of states) points.push(await protectDisk(repository, chunks));
  await repository.removePoint(points[1]!);
  assert.equal(await collect(repository), 'done');
  await assertSound(repository);
  assert.deepEqual(await readDisk(repository, points[0]!), states[0]);
  assert.deepEqual(await readDisk(repository, points[2]!), states[2]);
  await repository.removePoint(points[0]!);
  await repository.removePoint(points[2]!);
  await collect(repository);
  assert.deepEqual(await namesOf(test.store, 'packs/'), []);
  assert.deepEqual(await namesOf(test.store, 'index/'), []);
  assert.deepEqual(await namesOf(test.store, 'points/'), []);
  assert.equal(await collect(repository), 'nothing-to-do');
});

test('a dry run says what would be done and does nothing', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  await repository.removePoint(await protectDisk(repository, chunkRange(0, 20)));
  const before = await namesOf(test.store, '');
  const result = await collectGarbage({ repository, plan: EAGER, dryRun: true });
  assert.equal(result.outcome, 'planned');
  assert.equal(result.plan?.remove.length, 2);
  assert.deepEqual(await namesOf(test.store, ''), before);
});

test('it needs no key', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const kept = await protectDisk(writer, chunkRange(0, 10));
  await writer.removePoint(await protectDisk(writer, chunkRange(5, 30)));
  const server = await test.lockedHost();
  assert.equal(await collect(server), 'done');
  assert.equal(server.keys, undefined);
  assert.deepEqual(await readDisk(await test.host(), kept), chunkRange(0, 10));
});

test('a held point cannot be removed', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  await repository.hold(await protectDisk(repository, chunkRange(0, 3)), BY_PERSON);
  const [held] = await repository.points();
  assert.ok(held?.held);
  await assert.rejects(repository.removePoint(held), (error) => isCofferError(error, 'point-held'));
  await repository.release(held, BY_PERSON.holder);
  const [released] = await repository.points();
  await repository.removePoint(released!);
  assert.deepEqual(await repository.points(), []);
});

test('it waits for a session that began before, and what that commits is whole', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const doomed = await protectDisk(repository, chunkRange(0, 20));
  const writer = await test.host();
  const session = await writer.beginSession();
  await repository.removePoint(doomed);
  // A session of another host: that its process is not here says nothing.
  assert.equal(await collect(repository), 'waiting');
  // The session takes chunks for stored that are condemned by now.
  const point = await writeDisk(writer, session, chunkRange(10, 25));
  await session.commit([point]);
  assert.equal(await collect(repository), 'done');
  const [found] = await repository.points();
  assert.equal(found?.id, point.id);
  await assertSound(await test.host());
  assert.deepEqual(await readDisk(repository, found), chunkRange(10, 25));
});

test('a session that begins while it waits takes nothing that is condemned', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const doomed = await protectDisk(repository, chunkRange(0, 20));
  const waitedFor = await (await test.host()).beginSession();
  await repository.removePoint(doomed);
  assert.equal(await collect(repository), 'waiting');
  const later = await test.host();
  const point = await protectDisk(later, chunkRange(0, 20));
  assert.equal((await later.points()).length, 1);
  await waitedFor.abandon();
  assert.equal(await collect(repository), 'done');
  await assertSound(repository);
  assert.deepEqual(await readDisk(await test.host(), point), chunkRange(0, 20));
});

test('a session without a sign of life is fenced, and can never publish', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const writer = await test.host();
  const session = await writer.beginSession();
  const point = await writeDisk(writer, session, chunkRange(0, 10));
  await session.writer.flush();
  await repository.removePoint(await protectDisk(repository, chunkRange(20, 30)));
  assert.equal(await collect(repository), 'waiting');
  test.clock.advance(LEASE_MS + 1);
  assert.equal(await collect(repository), 'done');
  // Its end is gone by now; the sweep remembers all the same.
  assert.deepEqual(await namesOf(test.store, 'sessions/'), []);
  await assert.rejects(session.commit([point]), (error) => isCofferError(error, 'session-fenced'));
  assert.deepEqual(await repository.points(), []);
  await collect(repository);
  assert.deepEqual(await namesOf(test.store, 'packs/'), []);
});

/** Puts the beginning of a session whose process has ended, as far as its own host can tell. */
async function beginAndDie(test: TestRepository, own: ProcessIdentity): Promise<void> {
  const session = 'ab'.repeat(16);
  const begin = { session, startedAt: 0, host: systemProcesses.host, process: own };
  await test.store.put(beginName(session), encodeBegin(begin));
}

const ENDED = { ...systemProcesses.own!, processId: 2 ** 30 };

test('a process that has ended here is not waited for', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host({ processes: systemProcesses });
  await beginAndDie(test, ENDED);
  await repository.removePoint(await protectDisk(repository, chunkRange(0, 10)));
  assert.equal(await collect(repository), 'done');
  assert.deepEqual(await namesOf(test.store, 'sessions/'), []);
});

test('a writer on a machine, or in a container, of the same name is left to its lease', async () => {
  const others = [
    { ...ENDED, bootId: 'that of another machine' },
    { ...ENDED, pidNamespace: 'pid:[1]' },
  ];
  for (const other of others) {
    await using test = await TestRepository.create();
    const repository = await test.host({ processes: systemProcesses });
    await beginAndDie(test, other);
    await repository.removePoint(await protectDisk(repository, chunkRange(0, 10)));
    assert.equal(await collect(repository), 'waiting');
    test.clock.advance(LEASE_MS + 1);
    assert.equal(await collect(repository), 'done');
  }
});

test('it refuses to run when something that points reach is missing', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  await protectDisk(repository, chunkRange(0, 10));
  const isRefused = (error: unknown): boolean => isCofferError(error, 'repository-damaged');
  const [object] = await namesOf(test.store, 'index/');
  const bytes = await getWhole(test.store, object!);
  await test.store.delete(object!);
  await assert.rejects(collect(await test.host()), isRefused);
  await test.store.put(object!, Buffer.concat([bytes, Buffer.from('x')]));
  await assert.rejects(collect(await test.host()), isRefused);
  await test.store.delete(object!);
  await test.store.put(object!, bytes);
  const packs = [...(await test.host()).index.packs()];
  assert.equal(packs.length, 0, 'a new host has read nothing yet');
  assert.equal(await collect(await test.host()), 'nothing-to-do');
});

test('packs that nothing names are removed', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, chunkRange(0, 10));
  await test.store.put(packObjectName(Buffer.alloc(32, 7)), Buffer.from('left by a killed run'));
  assert.equal(await collect(repository), 'done');
  assert.equal((await namesOf(test.store, 'packs/')).length, 2);
  assert.deepEqual(await readDisk(repository, point), chunkRange(0, 10));
});

test('probes that somebody left are removed a day later', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const name = probeName(test.random);
  await test.store.put(name, Buffer.from('probe'));
  assert.equal(await collect(repository), 'nothing-to-do');
  assert.deepEqual(await namesOf(test.store, 'probes/'), [name]);
  test.clock.advance(25 * 3_600_000);
  await collect(repository);
  assert.deepEqual(await namesOf(test.store, 'probes/'), []);
});

test('the local index forgets what was swept, here and on other hosts', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const other = await test.host();
  const kept = await protectDisk(repository, chunkRange(0, 20));
  await repository.removePoint(await protectDisk(repository, chunkRange(10, 40)));
  await other.index.synchronize(test.store);
  assert.equal(other.index.chunkCount, 40 + 2);
  await collect(repository);
  assert.equal(repository.index.chunkCount, 20 + 1);
  await other.index.synchronize(test.store);
  assert.equal(other.index.chunkCount, 20 + 1);
  assert.deepEqual(await readDisk(other, kept), chunkRange(0, 20));
});

test('it can be killed before any of its writes, and the next one finishes', async () => {
  // As many as a whole collection makes.
  for (let writesLeft = 0; ; writesLeft++) {
    await using test = await TestRepository.create({ seed: writesLeft + 1 });
    const repository = await test.host();
    const kept = await protectDisk(repository, chunkRange(0, 20));
    await repository.removePoint(await protectDisk(repository, chunkRange(10, 40)));
    let left = writesLeft;
    const dying = onPut(test.store, () => {
      if (left-- === 0) throw new Error('killed');
    });
    const killed = await collect(await test.host({ store: dying })).then(
      () => false,
      (error: unknown) => {
        assert.match(String(error), /killed/);
        return true;
      },
    );
    assert.equal(await collect(repository), killed ? 'done' : 'nothing-to-do');
    await assertSound(repository);
    assert.deepEqual(await readDisk(await test.host(), kept), chunkRange(0, 20));
    if (!killed) break;
  }
});

test('two at once agree, and nothing is lost', async () => {
  const clock = stillClock();
  const store = openMemoryStore({ clock });
  await using test = await TestRepository.create({ store, clock });
  const repository = await test.host();
  const kept = await protectDisk(repository, chunkRange(0, 20));
  await repository.removePoint(await protectDisk(repository, chunkRange(10, 40)));
  const hosts = await Promise.all(
    Array.from({ length: 4 }, () => test.host({ store: interleaving(test) })),
  );
  const outcomes = await Promise.allSettled(hosts.map(collect));
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') continue;
    assert.ok(isCofferError(outcome.reason, 'gc-superseded'), String(outcome.reason));
  }
  await assertSound(await test.host());
  assert.deepEqual(await readDisk(repository, kept), chunkRange(0, 20));
});

/** Each call takes some turns of the event loop. */
function interleaving({ store, random }: TestRepository): TestRepository['store'] {
  const sleep = async (): Promise<void> => {
    const turns = Math.floor(random.fraction() * 4);
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const clock = { now: () => 0, sleep };
  return faulty(store, { random, clock, delayMsMax: 1 });
}
