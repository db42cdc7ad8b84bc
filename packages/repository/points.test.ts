import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { itemFolder, pointObjectName } from './recovery-point.ts';
import type { Repository } from './repository.ts';
import {
  chunkRange,
  getWhole,
  namesOf,
  onGet,
  protectDisk,
  TestRepository,
  writeDisk,
} from './testing/test-repository.ts';

/** A host whose reads of points are told. */
async function watchedHost(
  test: TestRepository,
): Promise<{ readonly host: Repository; readonly read: string[] }> {
  const read: string[] = [];
  const told = (name: string): void => void (name.startsWith('points/') && read.push(name));
  return { host: await test.host({ store: onGet(test.store, told) }), read };
}

const idsOf = (points: readonly { readonly id: string }[]): string[] => points.map(({ id }) => id);

test('points of an item, or of an id, are read alone, and once', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const made = [];
  for (const item of ['a', 'b', 'a', 'c']) {
    test.clock.advance(1000);
    made.push(await protectDisk(writer, chunkRange(0, 5), { item }));
  }
  const { host, read } = await watchedHost(test);
  const ofA = [made[0]!, made[2]!];
  assert.deepEqual(await host.points({ filter: { item: 'a' } }), ofA);
  assert.ok(read.length === 2 && read.every((name) => name.startsWith(itemFolder('a'))));
  assert.deepEqual(await host.points({ filter: { item: 'a' } }), ofA);
  const { id } = made[3]!;
  assert.deepEqual(idsOf(await host.points({ filter: { idPrefix: id.slice(0, 12) } })), [id]);
  assert.equal(read.length, 3);
  assert.deepEqual(await host.points({ filter: { item: 'none' } }), []);
  for (const idPrefix of ['x', '../points/', '/', 'ä']) {
    assert.deepEqual(await host.points({ filter: { idPrefix } }), []);
  }
  assert.deepEqual(await host.points(), made);
});

test('a point that is removed is not found in the cache, and leaves it', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const [first, second] = [
    await protectDisk(writer, chunkRange(0, 5), { item: 'a', takenAt: 1 }),
    await protectDisk(writer, chunkRange(0, 5), { item: 'a', takenAt: 2 }),
  ];
  const { host } = await watchedHost(test);
  await host.points({ filter: { item: 'a' } });
  await writer.removePoint(first);
  assert.deepEqual(idsOf(await host.points({ filter: { item: 'a' } })), [second.id]);
  const name = pointObjectName('a', first.generation, first.id);
  assert.equal(host.index.pointRecord(name), undefined);
});

test('what is committed and not listed is found by its item and its id', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const session = await writer.beginSession();
  const encoded = await writeDisk(writer, session, chunkRange(0, 5), { item: 'a' });
  await session.commit([encoded]);
  const [listed] = await namesOf(test.store, 'points/');
  const bytes = await getWhole(test.store, listed!);
  await test.store.delete(listed!);
  const { encodeEnd, endName } = await import('./session/session-record.ts');
  const record = bytes.toString('base64');
  const points = [{ id: encoded.id, item: 'a', record }];
  const end = { session: 'ab'.repeat(16), outcome: 'committed', generation: 0, points } as const;
  await test.store.put(endName(end.session), encodeEnd(end));
  const host = await test.host();
  for (const filter of [{ item: 'a' }, { idPrefix: encoded.id }]) {
    assert.deepEqual(idsOf(await host.points({ filter })), [encoded.id]);
  }
  assert.deepEqual(await host.points({ filter: { item: 'b' } }), []);
});

test('a damaged record in the cache is read from the store; one in the store is told', async () => {
  await using test = await TestRepository.create();
  const writer = await test.host();
  const point = await protectDisk(writer, chunkRange(0, 5), { item: 'a' });
  const name = pointObjectName('a', point.generation, point.id);
  const { host, read } = await watchedHost(test);
  const damaged = Buffer.from(await getWhole(test.store, name));
  damaged[30]! ^= 1;
  host.index.keepPointRecords(new Map([[name, damaged]]));
  assert.deepEqual(await host.points({ filter: { item: 'a' } }), [point]);
  assert.deepEqual(read, [name]);
  await test.store.delete(name);
  await test.store.put(name, damaged);
  await assert.rejects(host.points(), (error) => isCofferError(error, 'object-damaged'));
});
