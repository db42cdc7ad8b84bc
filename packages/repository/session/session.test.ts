import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { packObjectName } from '../pack/pack-codec.ts';
import {
  getWhole,
  chunkOf,
  namesOf,
  onPut,
  protectDisk,
  readDisk,
  TestRepository,
  writeDisk,
} from '../testing/test-repository.ts';
import { finishCommittedSessions } from './finish.ts';
import { endName, readEnd, writeEnd } from './session-record.ts';

const CHUNKS = [chunkOf(1), chunkOf(2), chunkOf(3)];

test('a session leaves nothing behind but its point', async () => {
  await using test = await TestRepository.create();
  await protectDisk(await test.host(), CHUNKS);
  assert.deepEqual(await namesOf(test.store, 'sessions/'), []);
  assert.equal((await namesOf(test.store, 'points/')).length, 1);
});

test('a point exists once its session has ended, wherever that was killed', async () => {
  await using test = await TestRepository.create();
  const killed = onPut(test.store, (name) => {
    if (name.startsWith('points/')) throw new Error('killed');
  });
  const writer = await test.host({ store: killed });
  const session = await writer.beginSession();
  const { id } = await writeDisk(writer, session, CHUNKS);
  const encoded = await writeDisk(writer, session, CHUNKS);
  await assert.rejects(session.commit([encoded]), /killed/);
  const repository = await test.host();
  const [point] = await repository.points();
  assert.equal(point?.id, encoded.id);
  assert.notEqual(id, encoded.id);
  assert.deepEqual(await readDisk(repository, point), CHUNKS);
  // The next writer lists it.
  await (await test.host().then((host) => host.beginSession())).abandon();
  assert.equal((await namesOf(test.store, 'points/')).length, 1);
  assert.deepEqual(
    (await repository.points()).map((each) => each.id),
    [encoded.id],
  );
});

test('before the end there is no point, and after giving up there never is', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const session = await repository.beginSession();
  const point = await writeDisk(repository, session, CHUNKS);
  await session.writer.flush();
  assert.deepEqual(await repository.points(), []);
  await session.abandon();
  await assert.rejects(session.commit([point]), (error) => isCofferError(error, 'session-fenced'));
  assert.deepEqual(await repository.points(), []);
});

test('of two that end a session the first one counts', async () => {
  await using test = await TestRepository.create();
  const session = await (await test.host()).beginSession();
  const fenced = { session: session.id, outcome: 'fenced', by: 'first' } as const;
  assert.deepEqual(await writeEnd(test.store, fenced), fenced);
  const committed = { session: session.id, outcome: 'committed', generation: 0 } as const;
  assert.deepEqual(await writeEnd(test.store, { ...committed, points: [] }), fenced);
  assert.deepEqual(await readEnd(test.store, session.id), fenced);
  await finishCommittedSessions(test.store);
  assert.equal((await namesOf(test.store, 'sessions/')).length, 2, 'a fenced one stays for the gc');
});

test('the end of another session ends nothing', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const other = await repository.beginSession();
  const killed = onPut(test.store, (name) => {
    if (name.startsWith('points/')) throw new Error('killed');
  });
  const writer = await test.host({ store: killed });
  const session = await writer.beginSession();
  const point = await writeDisk(writer, session, CHUNKS);
  await assert.rejects(session.commit([point]), /killed/);
  // Whoever can write to the store moves the end to a session that still runs.
  await test.store.put(endName(other.id), await getWhole(test.store, endName(session.id)));
  const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');
  await assert.rejects(readEnd(test.store, other.id), isDamaged);
  await assert.rejects(finishCommittedSessions(test.store), isDamaged);
  const told: unknown[] = [];
  const points = await repository.points({
    onDamaged: (error) => told.push(error.details['object']),
  });
  assert.deepEqual(
    points.map(({ id }) => id),
    [point.id],
  );
  assert.deepEqual(told, [endName(other.id)]);
  await assert.rejects(other.commit([]), isDamaged);
});

test('a run whose end somebody else has forged makes no point', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const session = await repository.beginSession();
  const point = await writeDisk(repository, session, CHUNKS);
  await writeEnd(test.store, {
    session: session.id,
    outcome: 'committed',
    generation: 0,
    points: [],
  });
  const isFenced = (error: unknown): boolean => isCofferError(error, 'session-fenced');
  await assert.rejects(session.commit([point]), isFenced);
  assert.deepEqual(await repository.points(), []);
});

test('a pack is stored before an index object names it, and that before the end', async () => {
  await using test = await TestRepository.create({ packSizeBytes: 1000 });
  const order: string[] = [];
  const store = onPut(test.store, async (name) => {
    order.push(name.split('/')[0]!);
    if (name.startsWith('index/')) {
      const packs = new Set(await namesOf(test.store, 'packs/'));
      assert.ok(packs.size >= 2);
    }
  });
  const repository = await test.host({ store });
  await protectDisk(
    repository,
    Array.from({ length: 10 }, (_, index) => chunkOf(index)),
  );
  assert.equal(order[0], 'sessions');
  assert.deepEqual(order.slice(-3), ['index', 'sessions', 'points']);
  assert.ok(order.slice(1, -3).every((kind) => kind === 'packs'));
  for (const { pack } of repository.index.packs()) {
    assert.ok(await test.store.stat(packObjectName(pack)));
  }
});

test('two sessions at once commit both, and each reads whole', async () => {
  await using test = await TestRepository.create();
  const hosts = await Promise.all([1, 2, 3].map(() => test.host()));
  const points = await Promise.all(
    hosts.map((host, index) => protectDisk(host, [...CHUNKS, chunkOf(10 + index)])),
  );
  const reader = await test.host();
  for (const [index, point] of points.entries()) {
    assert.deepEqual(await readDisk(reader, point), [...CHUNKS, chunkOf(10 + index)]);
  }
});
