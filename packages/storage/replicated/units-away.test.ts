import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { digest, seededRandom, systemClock } from '@coffer/base';
import { openMemoryStore } from '../memory.ts';
import type { ObjectStore } from '../object-store.ts';
import { ANY_SIZE, failsWith, listAll } from '../testing/expectations.ts';
import { Weather, withOutages } from '../testing/outage.ts';
import { SetRegistry } from './registry.ts';
import { formSet, openReplicatedStore } from './replicated-store.ts';
import { mendUnits } from './mend.ts';
import { absentUnits, returnUnit } from './return.ts';

const random = seededRandom(1);
const NAMES = ['a', 'b', 'c'] as const;
type Name = (typeof NAMES)[number];
const A = Buffer.from('content');

/** Three units, and processes that reach all of them or some. */
async function site() {
  const stores = new Map(NAMES.map((name) => [name, openMemoryStore()]));
  const weather = new Map(NAMES.map((name) => [name, new Weather(systemClock)]));
  const unitsOf = (cutOff: readonly Name[]): Map<string, ObjectStore> =>
    new Map(
      NAMES.map((name) => {
        const isCutOff = cutOff.includes(name);
        const options = { weather: weather.get(name)!, random, isCutOff };
        return [name, withOutages(stores.get(name)!, options)];
      }),
    );
  const optionsOf = (...cutOff: Name[]) => ({ units: unitsOf(cutOff), membersMin: 2, random });
  await formSet(optionsOf());
  return {
    unit: (name: Name) => stores.get(name)!,
    down: (name: Name) => weather.get(name)!.down(Infinity),
    up: (name: Name) => weather.get(name)!.clear(),
    optionsOf,
    open: (...cutOff: Name[]) =>
      openReplicatedStore({ location: 'three units', ...optionsOf(...cutOff) }),
    setNow: async () => await new SetRegistry(unitsOf([])).known(),
  };
}

/** Options of a process in whose way another one comes: once, before a call of one of its units. */
function metBy(
  options: { readonly units: Map<string, ObjectStore>; readonly membersMin: number },
  [unit, method, name]: readonly [Name, 'put' | 'delete', string],
  before: () => Promise<unknown>,
) {
  const store = options.units.get(unit)!;
  let isMet = false;
  const met = new Proxy(store, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property);
      if (property !== method || typeof value !== 'function') return value;
      return async (...args: unknown[]): Promise<unknown> => {
        const isFirst = args[0] === name && !isMet;
        if (isFirst) {
          isMet = true;
          await before();
        }
        return await Reflect.apply(value, target, args);
      };
    },
  });
  return { ...options, random, units: new Map([...options.units, [unit, met]]) };
}

async function read(store: ObjectStore, name: string): Promise<string> {
  return (await store.get(name, ANY_SIZE)).toString();
}

describe('a store over three units', () => {
  it('goes on without any one of them, and says so in a set', async () => {
    for (const away of NAMES) {
      const { open, down, setNow } = await site();
      const store = open();
      await store.put('records/before', A);
      down(away);
      await store.put('records/after', A);
      assert.equal(await read(store, 'records/before'), 'content');
      assert.equal((await listAll(store, 'records/')).length, 2);
      assert.deepEqual(
        (await setNow()).members,
        NAMES.filter((name) => name !== away),
      );
    }
  });

  it('refuses all but what is known by its name when two of them are away', async () => {
    const { open, down, setNow } = await site();
    const store = open();
    const pack = digest(A).toString('hex');
    const packName = `packs/${pack.slice(0, 2)}/${pack}`;
    await store.put(packName, A);
    await store.put('records/a', A);
    down('b');
    down('c');
    await failsWith('store-unavailable', store.put('records/b', A));
    await failsWith('store-unavailable', store.delete('records/a'));
    await failsWith('store-unavailable', store.get('records/a', ANY_SIZE));
    await failsWith('store-unavailable', listAll(store, ''));
    assert.equal(await read(store, packName), 'content');
    await failsWith('store-unavailable', setNow());
  });

  it('shows nothing to a process that reaches the leader alone', async () => {
    const { open } = await site();
    await open().put('records/a', A);
    const minority = open('b', 'c');
    await failsWith('store-unavailable', minority.get('records/a', ANY_SIZE));
    await failsWith('store-unavailable', minority.put('records/b', A));
    assert.deepEqual((await listAll(open(), '')).length, 1);
  });

  it('does not show what a put has left on the leader when the others went away', async () => {
    const { open, down, up, unit } = await site();
    const store = open();
    await store.put('records/a', A);
    down('b');
    down('c');
    await failsWith('store-unavailable', store.put('records/b', A));
    up('b');
    up('c');
    assert.ok(await unit('a').stat('records/b'));
    await failsWith('object-not-found', store.get('records/b', ANY_SIZE));
    // The next one that wants the name hears that it is taken, and then it is there.
    await failsWith('object-exists', store.put('records/b', Buffer.from('another')));
    assert.equal(await read(store, 'records/b'), 'content');
  });

  it('does not let a process with an older set show or decide anything by it', async () => {
    const { open, down, up, unit } = await site();
    const older = open();
    await older.put('records/a', A);
    down('a');
    const newer = open();
    await newer.put('records/b', Buffer.from('newer'));
    await newer.delete('records/a');
    up('a');
    assert.ok(await unit('a').stat('records/a'), 'the unit has not heard of it');
    await failsWith('object-not-found', older.get('records/a', ANY_SIZE));
    await failsWith('object-exists', older.put('records/b', Buffer.from('older')));
    assert.equal(await read(older, 'records/b'), 'newer');
  });

  it('does not show what only some units hold', async () => {
    const { open, unit } = await site();
    const store = open();
    await unit('a').put('records/leader', A);
    await unit('c').put('records/last', A);
    assert.equal(await store.stat('records/leader'), undefined);
    await failsWith('object-not-found', store.get('records/last', ANY_SIZE));
    assert.deepEqual(await listAll(store, ''), []);
    // A name that a killed writer took is completed for whoever hears that it is taken.
    await failsWith('object-exists', store.put('records/leader', Buffer.from('another')));
    assert.equal(await read(store, 'records/leader'), 'content');
  });

  it('reads packs from a unit that has them whole', async () => {
    const { open, unit } = await site();
    const store = open();
    const pack = digest(A).toString('hex');
    const name = `packs/${pack.slice(0, 2)}/${pack}`;
    await store.put(name, A);
    await unit('a').delete(name);
    await unit('a').put(name, Buffer.from('damaged'));
    await unit('b').delete(name);
    assert.equal(await read(store, name), 'content');
    assert.equal((await store.getRange(name, { offset: 3, length: 4 })).length, 4);
  });

  it('streams to all units, and does not need the source again', async () => {
    const { open, unit } = await site();
    const bytes = random.bytes(20 * 1024 * 1024);
    async function* source(): AsyncGenerator<Uint8Array> {
      yield bytes;
    }
    const options = { sizeBytes: bytes.length, digest: digest(bytes) };
    await open().putStream('packs/large', source(), options);
    for (const name of NAMES) {
      assert.ok((await unit(name).get('packs/large', ANY_SIZE)).equals(bytes), name);
    }
  });
});

describe('a put and a deletion at once', () => {
  const NAME = 'records/a';

  /** All units hold the object, or none does. */
  async function isEverywhere({ unit }: Awaited<ReturnType<typeof site>>): Promise<boolean> {
    const infos = await Promise.all(NAMES.map((name) => unit(name).stat(NAME)));
    const held = infos.filter((info) => info !== undefined).length;
    assert.ok(held === 0 || held === NAMES.length, `${held} units hold it`);
    return held > 0;
  }

  it('leave the object everywhere when the put ends last', async () => {
    const three = await site();
    const other = three.open();
    const options = metBy(three.optionsOf(), ['b', 'put', NAME], () => other.delete(NAME));
    await openReplicatedStore({ location: 'met', ...options }).put(NAME, A);
    assert.equal(await isEverywhere(three), true);
  });

  it('leave nothing anywhere when the deletion ends last', async () => {
    const three = await site();
    const other = three.open();
    await other.put(NAME, A);
    const options = metBy(three.optionsOf(), ['a', 'delete', NAME], () =>
      failsWith('object-exists', other.put(NAME, Buffer.from('another'))),
    );
    await openReplicatedStore({ location: 'met', ...options }).delete(NAME);
    assert.equal(await isEverywhere(three), false);
  });
});

describe('a unit that returns', () => {
  it('does not keep what was deleted while it was copied', async () => {
    const { open, down, up, unit, optionsOf } = await site();
    const store = open();
    down('c');
    await store.put('records/a', A);
    up('c');
    const options = metBy(optionsOf(), ['c', 'put', 'records/a'], () => store.delete('records/a'));
    assert.equal(await returnUnit('c', options), 'member');
    assert.equal(await unit('c').stat('records/a'), undefined);
  });

  it('gets what it missed, loses what was deleted, and counts then', async () => {
    const { open, down, up, unit, optionsOf, setNow } = await site();
    const store = open();
    for (const name of ['kept', 'deleted', 'again']) await store.put(`records/${name}`, A);
    down('a');
    await store.put('records/missed', A);
    await store.delete('records/deleted');
    await store.delete('records/again');
    await store.put('records/again', Buffer.from('another'));
    up('a');
    assert.deepEqual(await absentUnits(optionsOf()), ['a']);
    assert.equal(await returnUnit('a', optionsOf()), 'member');
    assert.deepEqual((await setNow()).members, ['b', 'c', 'a']);
    const names = (await listAll(unit('a'), 'records/')).map((info) => info.name);
    assert.deepEqual(names, ['records/again', 'records/kept', 'records/missed']);
    assert.equal(await read(unit('a'), 'records/again'), 'another');
    down('b');
    assert.equal((await listAll(store, 'records/')).length, 3);
    assert.equal(await returnUnit('a', optionsOf()), 'member');
  });

  it('is out again when it fails while it is compared', async () => {
    const { open, down, up, optionsOf, setNow } = await site();
    const store = open();
    down('c');
    await store.put('records/a', A);
    up('c');
    await failsWith('store-unavailable', returnUnit('c', optionsOf('c')));
    assert.deepEqual(await setNow(), {
      ...(await setNow()),
      members: ['a', 'b'],
      joining: undefined,
    });
    await store.put('records/b', A);
    assert.equal(await returnUnit('c', optionsOf()), 'member');
  });

  it('is filled again where it has lost a file', async () => {
    const { open, unit, optionsOf } = await site();
    const store = open();
    await store.put('records/a', A);
    await unit('b').delete('records/a');
    const options = { ...optionsOf(), clock: systemClock };
    assert.deepEqual(await mendUnits(options), { completed: 1, removed: 0 });
    assert.equal(await read(store, 'records/a'), 'content');
    assert.deepEqual(await mendUnits(options), { completed: 0, removed: 0 });
  });

  it('is freed of what nobody can be about to decide any more', async () => {
    const { open, unit, optionsOf } = await site();
    const store = open();
    for (const name of ['b', 'c'] as const) await unit(name).put('records/a', A);
    await failsWith('store-unavailable', store.put('records/a', Buffer.from('another')));
    const now = { ...optionsOf(), clock: systemClock };
    assert.deepEqual(await mendUnits(now), { completed: 0, removed: 0 });
    const dayLater = { ...systemClock, now: () => systemClock.now() + 25 * 3_600_000 };
    const { removed } = await mendUnits({ ...optionsOf(), clock: dayLater });
    assert.ok(removed > 0);
    assert.equal(await read(store, 'records/a'), 'another');
  });
});
