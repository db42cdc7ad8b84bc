/**
 * What every object store has to keep, as tests. Each test gets its own names in one store, which
 * is opened once: real servers take seconds to start.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { mapBounded, systemClock, systemRandom } from '@coffer/base';
import { ANY_SIZE, assertCode, failsWith, listAll } from './expectations.ts';
import { streamContract } from './stream-contract.ts';
import { type ObjectStore, isObjectName } from '../object-store.ts';

export interface ContractOptions {
  /** Small objects put to see the pages of lists; servers give 1000 or 5000 at once. */
  readonly listedCount?: number;
  /** False for a store that is append-only. */
  readonly deletes?: boolean;
}

const MIB = 1024 * 1024;
const LARGE_SIZE = 40 * MIB;

export function objectStoreContract(
  name: string,
  open: () => Promise<ObjectStore>,
  { listedCount = 1100, deletes = true }: ContractOptions = {},
): void {
  describe(`object store contract: ${name}`, () => {
    let store: ObjectStore;
    before(async () => {
      store = await open();
    });
    after(() => store.close());

    it('says whether it deletes', () => assert.equal(store.capabilities.deletes, deletes));
    it('gives back what was put', () => givesBack(store));
    it('holds empty objects', () => holdsEmpty(store));
    it('never replaces an object', () => neverReplaces(store));
    it('lets one of many puts of a name win, whole', () => letsOneWin(store));
    it('keeps no hold on the bytes it was given', () => keepsNoHold(store));
    it('holds large objects and gives any range of them', () => holdsLarge(store));
    it('gives the first and the last byte', () => givesEnds(store));
    it('gives no object that is larger than asked for', () => givesNoLarger(store));
    it('refuses ranges beyond the end', () => refusesBeyondEnd(store));
    it('reads into part of a shared buffer', () => readsIntoShared(store));
    it('takes bytes from a shared buffer', () => takesFromShared(store));
    it('knows size and time of an object', () => knowsSizeAndTime(store));
    it('says that an object is missing', () => saysMissing(store));
    if (deletes) {
      it('deletes, also what is not there', () => deletesObjects(store));
      it('creates a name anew after its deletion', () => createsAnew(store));
      it('keeps objects when it removes leftovers', () => keepsObjects(store));
    } else it('gives nothing up', () => givesNothingUp(store));
    it('lists by prefix in the order of bytes', () => listsInOrder(store));
    it('lists what was put and deleted just before', () => listsAtOnce(store));
    it('lists many objects once each', () => listsMany(store, listedCount));
    it('lets a list be left early', () => letsListBeLeft(store));
    streamContract(() => store);
    it('protects objects, or says that it cannot', () => protectsOrRefuses(store));
    it('refuses invalid names', () => refusesInvalidNames(store));
    it('stops when it is told to', () => stops(store));
  });
}

async function givesBack(store: ObjectStore): Promise<void> {
  const bytes = systemRandom.bytes(100_000);
  await store.put('gives-back/a', bytes);
  assert.deepEqual(await store.get('gives-back/a', ANY_SIZE), bytes);
}

async function holdsEmpty(store: ObjectStore): Promise<void> {
  await store.put('empty/a', new Uint8Array(0));
  assert.equal((await store.get('empty/a', ANY_SIZE)).length, 0);
  assert.equal((await store.getRange('empty/a', { offset: 0, length: 0 })).length, 0);
  assert.equal((await store.stat('empty/a'))?.sizeBytes, 0);
  await failsWith('range-invalid', store.getRange('empty/a', { offset: 0, length: 1 }));
}

async function neverReplaces(store: ObjectStore): Promise<void> {
  await store.put('replace/a', Buffer.from('first'));
  await failsWith('object-exists', store.put('replace/a', Buffer.from('second')));
  await failsWith('object-exists', store.put('replace/a', Buffer.from('first')));
  assert.equal((await store.get('replace/a', ANY_SIZE)).toString(), 'first');
}

async function letsOneWin(store: ObjectStore): Promise<void> {
  const candidates = Array.from({ length: 20 }, (_, index) => Buffer.alloc(70_000, index + 1));
  const results = await Promise.allSettled(candidates.map((bytes) => store.put('race/a', bytes)));
  const winners = candidates.filter((_, index) => results[index]?.status === 'fulfilled');
  assert.equal(winners.length, 1, 'exactly one put succeeds');
  for (const result of results) {
    if (result.status === 'rejected') assertCode(result.reason, 'object-exists');
  }
  assert.ok(
    (await store.get('race/a', ANY_SIZE)).equals(winners[0]!),
    'the winner is what is stored',
  );
}

async function keepsNoHold(store: ObjectStore): Promise<void> {
  const bytes = Buffer.alloc(1000, 7);
  await store.put('hold/a', bytes);
  bytes.fill(9);
  const read = await store.get('hold/a', ANY_SIZE);
  assert.deepEqual(read, Buffer.alloc(1000, 7));
  read.fill(9);
  assert.deepEqual(await store.get('hold/a', ANY_SIZE), Buffer.alloc(1000, 7));
}

async function holdsLarge(store: ObjectStore): Promise<void> {
  const bytes = systemRandom.bytes(LARGE_SIZE);
  await store.put('large/a', bytes);
  assert.ok((await store.get('large/a', ANY_SIZE)).equals(bytes));
  const offsets = Array.from({ length: 40 }, (_, index) => index * MIB + 17);
  await mapBounded(offsets, 16, async (offset) => {
    const length = Math.min(MIB, LARGE_SIZE - offset);
    const part = await store.getRange('large/a', { offset, length });
    assert.ok(part.equals(bytes.subarray(offset, offset + length)), `range at ${offset}`);
  });
}

async function givesEnds(store: ObjectStore): Promise<void> {
  await store.put('ends/a', Buffer.from('abcdef'));
  assert.equal((await store.getRange('ends/a', { offset: 0, length: 1 })).toString(), 'a');
  assert.equal((await store.getRange('ends/a', { offset: 5, length: 1 })).toString(), 'f');
  assert.equal((await store.getRange('ends/a', { offset: 0, length: 6 })).toString(), 'abcdef');
  assert.equal((await store.getRange('ends/a', { offset: 6, length: 0 })).length, 0);
}

async function givesNoLarger(store: ObjectStore): Promise<void> {
  await store.put('larger/a', Buffer.from('abcdef'));
  await failsWith('object-damaged', store.get('larger/a', { sizeBytesMax: 5 }));
  await failsWith('object-damaged', store.get('larger/a', { sizeBytesMax: 0 }));
  assert.equal((await store.get('larger/a', { sizeBytesMax: 6 })).toString(), 'abcdef');
}

async function refusesBeyondEnd(store: ObjectStore): Promise<void> {
  await store.put('beyond/a', Buffer.from('abcdef'));
  await failsWith('range-invalid', store.getRange('beyond/a', { offset: 5, length: 2 }));
  await failsWith('range-invalid', store.getRange('beyond/a', { offset: 6, length: 1 }));
  await failsWith('range-invalid', store.getRange('beyond/a', { offset: 7, length: 0 }));
  await failsWith('range-invalid', store.getRange('beyond/a', { offset: MIB, length: MIB }));
  await failsWith('range-invalid', store.getInto('beyond/a', 1, new Uint8Array(6)));
}

async function readsIntoShared(store: ObjectStore): Promise<void> {
  const bytes = systemRandom.bytes(300_000);
  await store.put('into/a', bytes);
  const memory = new Uint8Array(new SharedArrayBuffer(400_000));
  await store.getInto('into/a', 1000, memory.subarray(100, 250_100));
  assert.ok(Buffer.from(memory.subarray(100, 250_100)).equals(bytes.subarray(1000, 251_000)));
  assert.ok(
    memory.subarray(0, 100).every((byte) => byte === 0),
    'nothing is written before',
  );
  assert.ok(
    memory.subarray(250_100).every((byte) => byte === 0),
    'nothing is written after',
  );
}

async function takesFromShared(store: ObjectStore): Promise<void> {
  const memory = new Uint8Array(new SharedArrayBuffer(300_000));
  memory.set(systemRandom.bytes(300_000));
  const part = memory.subarray(1000, 200_000);
  await store.put('from-shared/a', part);
  assert.ok((await store.get('from-shared/a', ANY_SIZE)).equals(part));
}

async function knowsSizeAndTime(store: ObjectStore): Promise<void> {
  await store.put('stat/a', Buffer.alloc(12_345));
  const info = await store.stat('stat/a');
  assert.equal(info?.name, 'stat/a');
  assert.equal(info?.sizeBytes, 12_345);
  // A clock of its own, and a machine that is busy, differ by less; another unit or zone by more.
  assert.ok(Math.abs(info.createdAt - systemClock.now()) < 3_000_000, 'the time is about now');
  assert.deepEqual(await listAll(store, 'stat/'), [info]);
}

async function saysMissing(store: ObjectStore): Promise<void> {
  await store.put('missing/a', Buffer.from('a'));
  for (const name of ['missing/b', 'missing', 'absent/b']) {
    await failsWith('object-not-found', store.get(name, ANY_SIZE));
    await failsWith('object-not-found', store.getRange(name, { offset: 0, length: 1 }));
    await failsWith('object-not-found', store.getRange(name, { offset: 0, length: 0 }));
    await failsWith('object-not-found', store.getInto(name, 0, new Uint8Array(1)));
    assert.equal(await store.stat(name), undefined);
  }
}

async function deletesObjects(store: ObjectStore): Promise<void> {
  await store.put('delete/a', Buffer.from('a'));
  // Read first: what an adapter keeps open must not outlive the object.
  await store.getRange('delete/a', { offset: 0, length: 1 });
  await store.delete('delete/a');
  await failsWith('object-not-found', store.get('delete/a', ANY_SIZE));
  await failsWith('object-not-found', store.getRange('delete/a', { offset: 0, length: 1 }));
  await store.delete('delete/a');
  await store.delete('delete/never/was');
}

async function givesNothingUp(store: ObjectStore): Promise<void> {
  await store.put('append-only/a', Buffer.from('a'));
  await failsWith('store-append-only', store.delete('append-only/a'));
  await failsWith('store-append-only', store.delete('append-only/missing'));
  await failsWith('store-append-only', store.removeLeftovers(0));
  assert.equal((await store.get('append-only/a', ANY_SIZE)).toString(), 'a');
}

async function protectsOrRefuses(store: ObjectStore): Promise<void> {
  await store.put('protect/a', Buffer.from('a'));
  const until = systemClock.now() + 3_600_000;
  if (store.capabilities.objectLock) await store.protect('protect/a', until);
  else await failsWith('store-without-lock', store.protect('protect/a', until));
}

async function createsAnew(store: ObjectStore): Promise<void> {
  await store.put('anew/a', Buffer.from('old'));
  assert.equal((await store.getRange('anew/a', { offset: 0, length: 3 })).toString(), 'old');
  await store.delete('anew/a');
  await store.put('anew/a', Buffer.from('new'));
  assert.equal((await store.getRange('anew/a', { offset: 0, length: 3 })).toString(), 'new');
}

async function listsInOrder(store: ObjectStore): Promise<void> {
  // In the order of bytes: - (2d) . (2e) / (2f) 0 (30) a (61).
  const names = ['x-y', 'x.y', 'x/a-b', 'x/a.b', 'x/a/b', 'x/a/b-c/d', 'x/a0', 'x/ab', 'x0', 'xa'];
  await mapBounded([...names].reverse(), 4, (name) => store.put(`order/${name}`, Buffer.alloc(1)));
  const namesOf = async (prefix: string) =>
    (await listAll(store, `order/${prefix}`)).map((info) => info.name.slice('order/'.length));
  assert.deepEqual(await namesOf(''), names);
  for (const prefix of [
    'x',
    'x/',
    'x/a',
    'x/a/',
    'x/a/b',
    'x/a/b-',
    'x/ab',
    'x0',
    'y',
    'x/a/b/c',
  ]) {
    const expected = names.filter((name) => name.startsWith(prefix));
    assert.deepEqual(await namesOf(prefix), expected, `prefix ${prefix}`);
  }
  assert.deepEqual(await listAll(store, 'no-such-folder/'), []);
  const everything = (await listAll(store, '')).map((info) => info.name);
  assert.deepEqual(everything, [...everything].sort());
  assert.ok(everything.includes('order/x/a/b-c/d'));
}

async function listsAtOnce(store: ObjectStore): Promise<void> {
  for (let index = 0; index < 10; index++) {
    await store.put(`at-once/${index}`, Buffer.from('a'));
    assert.equal((await listAll(store, 'at-once/')).length, index + 1);
  }
  if (!store.capabilities.deletes) return;
  await store.delete('at-once/5');
  const names = (await listAll(store, 'at-once/')).map((info) => info.name);
  assert.equal(names.includes('at-once/5'), false);
  assert.equal(names.length, 9);
}

async function listsMany(store: ObjectStore, count: number): Promise<void> {
  const names = Array.from({ length: count }, (_, index) => `many/${index % 3}/${index}`);
  await mapBounded(names, 32, (name) => store.put(name, Buffer.from(name)));
  const listed = await listAll(store, 'many/');
  assert.deepEqual(
    listed.map((info) => info.name),
    [...names].sort(),
  );
  for (const info of listed) assert.equal(info.sizeBytes, info.name.length);
}

async function letsListBeLeft(store: ObjectStore): Promise<void> {
  await mapBounded(['a', 'b', 'c'], 3, (word) => store.put(`left/${word}`, Buffer.alloc(1)));
  for await (const info of store.list('left/')) {
    assert.equal(info.name, 'left/a');
    break;
  }
}

async function refusesInvalidNames(store: ObjectStore): Promise<void> {
  const invalid = ['', '/', 'a/', '/a', 'a//b', '.', '..', 'a/../b', '../a', '.tmp/a', 'A', 'a b'];
  for (const name of [...invalid, 'ä', 'a\0b', 'a\nb', 'a\\b', '-a', 'a?', 'x'.repeat(513)]) {
    assert.equal(isObjectName(name), false, name);
    await failsWith('object-name-invalid', store.put(name, Buffer.alloc(1)));
    await failsWith('object-name-invalid', store.get(name, ANY_SIZE));
    await failsWith('object-name-invalid', store.getInto(name, 0, new Uint8Array(1)));
    await failsWith('object-name-invalid', store.stat(name));
    if (store.capabilities.deletes) {
      await failsWith('object-name-invalid', store.delete(name));
    }
  }
  for (const prefix of ['/', '..', '../', 'a/../', 'a//', 'A', '.']) {
    await failsWith('object-name-invalid', listAll(store, prefix));
  }
}

async function stops(store: ObjectStore): Promise<void> {
  await store.put('stop/a', Buffer.alloc(1000));
  const reason = new Error('told to stop');
  const signal = AbortSignal.abort(reason);
  const rejected = (promise: Promise<unknown>) => assert.rejects(promise, (e) => e === reason);
  await rejected(store.put('stop/b', Buffer.alloc(1), { signal }));
  await rejected(store.get('stop/a', { ...ANY_SIZE, signal }));
  await rejected(store.getInto('stop/a', 0, new Uint8Array(1), { signal }));
  await rejected(store.stat('stop/a', { signal }));
  if (store.capabilities.deletes) await rejected(store.delete('stop/a', { signal }));
  await rejected(Array.fromAsync(store.list('stop/', { signal })));
  assert.equal((await listAll(store, 'stop/')).length, 1);
  await stopsMidway(store, reason);
}

/** A put that is stopped while it runs leaves nothing or the whole object. */
async function stopsMidway(store: ObjectStore, reason: Error): Promise<void> {
  const controller = new AbortController();
  const bytes = systemRandom.bytes(8 * MIB);
  const put = store.put('stop/midway', bytes, { signal: controller.signal });
  setTimeout(() => controller.abort(reason), 3);
  const error: unknown = await put.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(error === undefined || error === reason, String(error));
  if (await store.stat('stop/midway'))
    assert.ok((await store.get('stop/midway', ANY_SIZE)).equals(bytes));
}

async function keepsObjects(store: ObjectStore): Promise<void> {
  await store.put('kept/a', Buffer.from('kept'));
  await store.removeLeftovers(0);
  assert.equal((await store.get('kept/a', ANY_SIZE)).toString(), 'kept');
}
