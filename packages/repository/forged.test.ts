/**
 * Who can only add objects, and has no key, forges well-formed packs and index objects under ids that
 * he reads in clear. Nothing of others is lost by it, and with keys all of it is found and mended.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { copyPoints } from './copy/copy.ts';
import { GC_PLAN_DEFAULTS } from './gc/plan.ts';
import { readGcState } from './generations/gc-record.ts';
import { collectGarbage } from './gc/run.ts';
import { decodeIndexObject, encodeIndexObject } from './index/index-codec.ts';
import { PackBuilder } from './pack/pack-builder.ts';
import { type PackDescription, packObjectName } from './pack/pack-codec.ts';
import type { RecoveryPoint } from './recovery-point.ts';
import { repairRepository } from './repair/repair.ts';
import type { UnlockedRepository } from './repository.ts';
import {
  chunkOf,
  chunkRange,
  getWhole,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from './testing/test-repository.ts';
import { encodeNodeClear, encodeNodeHead } from './tree/node-codec.ts';
import { verifyRepository } from './verify/verify.ts';

const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };

/** Puts a pack, and an index object that is read before all others. */
async function plant(test: TestRepository, forge: (builder: PackBuilder) => void): Promise<string> {
  const { publicKey } = test.keys;
  const { generation } = await readGcState(test.store);
  for (let seed = 1; ; seed++) {
    const builder = new PackBuilder({ publicKey, random: seededRandom(seed) });
    forge(builder);
    const { bytes, ...description } = builder.finish();
    const object = encodeIndexObject([description], generation);
    const [first] = await namesOf(test.store, 'index/');
    if (first !== undefined && object.name > first) continue;
    await test.store.put(packObjectName(description.pack), bytes);
    await test.store.put(object.name, object.bytes);
    return packObjectName(description.pack);
  }
}

/** Takes the pack of a chunk, and what names it, out of the store; returns how it comes back. */
async function takeAway(test: TestRepository, id: Buffer): Promise<() => Promise<void>> {
  const taken = new Map<string, Buffer>();
  for (const name of await namesOf(test.store, 'index/')) {
    const bytes = await getWhole(test.store, name);
    const packs = decodeIndexObject({ name, bytes });
    if (!packs.some(({ entries }) => entries.some((entry) => entry.id.equals(id)))) continue;
    taken.set(name, bytes);
    const { pack } = packs.find(({ entries }) => entries.some((entry) => entry.id.equals(id)))!;
    taken.set(packObjectName(pack), await getWhole(test.store, packObjectName(pack)));
    // What else it named is named still.
    const rest = encodeIndexObject(
      packs.filter((each) => !each.pack.equals(pack)),
      0,
    );
    await test.store.put(rest.name, rest.bytes);
  }
  for (const name of taken.keys()) await test.store.delete(name);
  return async () => {
    for (const [name, bytes] of taken) await test.store.put(name, bytes);
  };
}

function rootOf(point: RecoveryPoint): Buffer {
  return Buffer.from(point.roots[0]!.root, 'hex');
}

async function childrenOf(host: UnlockedRepository, point: RecoveryPoint): Promise<Buffer[]> {
  await host.index.synchronize(host.store);
  return [...(await host.reader().readNode(rootOf(point))).children];
}

/** Other bytes under the id of the first chunk of the point. */
async function plantChunk(test: TestRepository, point: RecoveryPoint): Promise<string> {
  const [id] = await childrenOf(await test.host(), point);
  return await plant(test, (builder) => builder.add(id!, 'data', chunkOf(99)));
}

async function assertWhole(
  test: TestRepository,
  point: RecoveryPoint,
  chunks: Buffer[],
): Promise<void> {
  assert.deepEqual(await readDisk(await test.host(), point), chunks);
}

async function codesOf(repository: UnlockedRepository): Promise<string[]> {
  const { findings } = await verifyRepository({ repository, readFraction: 1 });
  return findings.map(({ code }) => code).sort();
}

const HEADS: Record<string, readonly Buffer[]> = {
  'no children': [],
  'children that nobody has': [Buffer.alloc(32, 7)],
};

for (const [what, children] of Object.entries(HEADS)) {
  test(`a forged node with ${what} makes a collection delete nothing that points reach`, async () => {
    await using test = await TestRepository.create();
    const host = await test.host();
    const point = await protectDisk(host, chunkRange(0, 20));
    await host.removePoint(await protectDisk(host, chunkRange(50, 90), { item: 'gone' }));
    const clear = encodeNodeClear(encodeNodeHead(children), Buffer.alloc(32));
    await plant(test, (builder) => builder.add(rootOf(point), 'node', Buffer.alloc(0), clear));
    const collector = await test.lockedHost();
    const { outcome } = await collectGarbage({ repository: collector, plan: EAGER });
    assert.equal(outcome, 'done');
    await assertWhole(test, point, chunkRange(0, 20));
    assert.ok((await codesOf(await test.host())).includes('chunk-damaged'), 'a verification tells');
  });
}

const FORGED_ROOTS: Record<string, Buffer> = {
  'what looks like data': Buffer.alloc(40),
  'a node without children': encodeNodeClear(encodeNodeHead([]), Buffer.alloc(32)),
};

for (const [what, clear] of Object.entries(FORGED_ROOTS)) {
  test(`a node that is away while ${what} lies under its id comes back to all it needs`, async () => {
    await using test = await TestRepository.create();
    const host = await test.host();
    const point = await protectDisk(host, chunkRange(0, 20));
    await host.removePoint(await protectDisk(host, chunkRange(50, 90), { item: 'gone' }));
    const bringBack = await takeAway(test, rootOf(point));
    await plant(test, (builder) => builder.add(rootOf(point), 'node', Buffer.alloc(0), clear));
    await assert.rejects(
      collectGarbage({ repository: await test.lockedHost(), plan: EAGER }),
      isCofferError,
    );
    await bringBack();
    await collectGarbage({ repository: await test.lockedHost(), plan: EAGER });
    await assertWhole(test, point, chunkRange(0, 20));
  });
}

test('a collection keeps the true chunk beside a forged one, also when it moves chunks', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  const session = await host.beginSession();
  await session.abandon();
  const point = await protectDisk(host, chunkRange(0, 20));
  await plantChunk(test, point);
  for (let round = 0; round < 3; round++) {
    const waste = await protectDisk(
      await test.host(),
      chunkRange(100 + round * 10, 110 + round * 10),
    );
    await host.removePoint(waste);
    await collectGarbage({ repository: await test.lockedHost(), plan: EAGER });
    await assertWhole(test, point, chunkRange(0, 20));
  }
});

test('a forged chunk is read past, found, and dropped by a repair with keys', async () => {
  await using test = await TestRepository.create();
  const point = await protectDisk(await test.host(), chunkRange(0, 20));
  const pack = await plantChunk(test, point);
  await assertWhole(test, point, chunkRange(0, 20));
  const found = await verifyRepository({ repository: await test.host(), readFraction: 1 });
  assert.deepEqual(
    found.findings.map(({ code }) => code),
    ['chunk-damaged'],
  );
  assert.deepEqual(found.pointsDamaged, [], 'the true one is there');
  const repaired = await repairRepository({ repository: await test.host(), rebuildIndex: false });
  assert.equal(repaired.packsDropped, 1);
  assert.equal(await test.store.stat(pack), undefined);
  assert.deepEqual(await codesOf(await test.host()), []);
  await assertWhole(test, point, chunkRange(0, 20));
});

test('what was built on a forged chunk is found, and the backup after a repair is whole', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  // The attacker knows the id before the chunk is stored: it was stored once.
  const old = await protectDisk(host, chunkRange(0, 5));
  const [id] = await childrenOf(host, old);
  await host.removePoint(old);
  await collectGarbage({ repository: await test.lockedHost(), plan: EAGER });
  await plant(test, (builder) => {
    builder.add(id!, 'data', chunkOf(99));
    builder.add(Buffer.alloc(32, 4), 'data', chunkOf(98));
  });
  const built = await protectDisk(await test.host(), chunkRange(0, 5), { item: 'built' });
  const found = await verifyRepository({ repository: await test.host(), readFraction: 1 });
  assert.deepEqual(found.pointsDamaged, [built.id]);
  const repaired = await repairRepository({ repository: await test.host(), rebuildIndex: false });
  assert.deepEqual(repaired.pointsDamaged, [built.id]);
  const again = await protectDisk(await test.host(), chunkRange(0, 5), { item: 'again' });
  await assertWhole(test, again, chunkRange(0, 5));
  await assertWhole(test, built, chunkRange(0, 5));
});

test('an index object that describes a pack as it is not is found, and made anew', async () => {
  await using test = await TestRepository.create();
  const point = await protectDisk(await test.host(), chunkRange(0, 20));
  const [name] = await namesOf(test.store, 'index/');
  const packs = decodeIndexObject({ name: name!, bytes: await getWhole(test.store, name!) });
  const shifted = packs.map((pack): PackDescription => {
    const entries = pack.entries.map((entry) => ({ ...entry, offset: entry.offset - 1 })).reverse();
    return { ...pack, entries: entries.slice(1) };
  });
  const forged = encodeIndexObject(shifted, 0);
  await test.store.put(forged.name, forged.bytes);
  await assertWhole(test, point, chunkRange(0, 20));
  for (const repository of [await test.host(), await test.lockedHost()]) {
    const { findings } = await verifyRepository({ repository, readFraction: 1 });
    assert.deepEqual(
      findings.map(({ code }) => code),
      ['object-damaged'],
    );
  }
  await collectGarbage({ repository: await test.lockedHost(), plan: EAGER });
  await assertWhole(test, point, chunkRange(0, 20));
  await repairRepository({ repository: await test.lockedHost(), rebuildIndex: false });
  assert.deepEqual(await codesOf(await test.host()), []);
  await assertWhole(test, point, chunkRange(0, 20));
});

test('a copy takes the true chunks and nodes along with forged ones', async () => {
  await using test = await TestRepository.create();
  await using other = await TestRepository.create({ keys: test.keys });
  const point = await protectDisk(await test.host(), chunkRange(0, 20));
  await plantChunk(test, point);
  const clear = encodeNodeClear(encodeNodeHead([]), Buffer.alloc(32));
  await plant(test, (builder) => builder.add(rootOf(point), 'node', Buffer.alloc(0), clear));
  await copyPoints({
    source: await test.lockedHost(),
    target: await other.lockedHost(),
    isWanted: () => true,
  });
  const [copied] = await (await other.host()).points();
  await assertWhole(other, copied!, chunkRange(0, 20));
});

for (const what of ['was never there', 'is said to be smaller'] as const) {
  test(`a copy passes over a forged place in a pack that ${what}`, async () => {
    await using test = await TestRepository.create();
    await using other = await TestRepository.create({ keys: test.keys });
    await protectDisk(await test.host(), chunkRange(0, 20));
    for (const name of await namesOf(test.store, 'index/')) {
      const packs = decodeIndexObject({ name, bytes: await getWhole(test.store, name) });
      const lies = packs.map((pack): PackDescription => {
        if (what === 'was never there') return { ...pack, pack: Buffer.alloc(32, 7) };
        return { ...pack, sizeBytes: pack.sizeBytes - 1 };
      });
      const { name: forged, bytes } = encodeIndexObject(lies, 0);
      await test.store.put(forged, bytes);
    }
    const pair = { source: await test.lockedHost(), target: await other.lockedHost() };
    await copyPoints({ ...pair, isWanted: () => true });
    const [copied] = await (await other.host()).points();
    await assertWhole(other, copied!, chunkRange(0, 20));
  });
}

test('a copy with other keys finds the true chunk behind a shorter one', async () => {
  await using test = await TestRepository.create();
  await using other = await TestRepository.create({ seed: 2 });
  const point = await protectDisk(await test.host(), chunkRange(0, 20));
  const ids = await childrenOf(await test.host(), point);
  await plant(test, (builder) => {
    for (const id of ids) builder.add(id, 'data', Buffer.from('short'));
  });
  const pair = { source: await test.host(), target: await other.host() };
  await copyPoints({ ...pair, isWanted: () => true });
  const [copied] = await (await other.host()).points();
  await assertWhole(other, copied!, chunkRange(0, 20));
});

/** Describes each pack of the repository so that the places of its chunks are those of others. */
async function plantOtherOrder(test: TestRepository): Promise<string[]> {
  const honest = await namesOf(test.store, 'index/');
  for (const name of honest) {
    const packs = decodeIndexObject({ name, bytes: await getWhole(test.store, name) });
    const lies = packs.map((pack) => {
      const places = pack.entries.toReversed();
      const entries = pack.entries.map(({ id, kind }, index) => ({ ...places[index]!, id, kind }));
      return { ...pack, entries: entries.toReversed() };
    });
    const forged = encodeIndexObject(lies, 0);
    await test.store.put(forged.name, forged.bytes);
  }
  return honest;
}

test('places that an index object mixes up are passed over where others tell the true ones', async () => {
  await using test = await TestRepository.create();
  await using other = await TestRepository.create({ keys: test.keys, seed: 2 });
  await using resealed = await TestRepository.create({ seed: 3 });
  const point = await protectDisk(await test.host(), chunkRange(0, 20));
  await plantOtherOrder(test);
  await assertWhole(test, point, chunkRange(0, 20));
  const again = await protectDisk(await test.host(), chunkRange(0, 25), { item: 'again' });
  await assertWhole(test, again, chunkRange(0, 25));
  for (const target of [other, resealed]) {
    const pair = { source: await test.host(), target: await target.host() };
    await copyPoints({ ...pair, isWanted: ({ item }) => item === 'again' });
    const [copied] = await (await target.host()).points();
    await assertWhole(target, copied!, chunkRange(0, 25));
  }
});

test('a copy finds all that it needs of a pack whose places are mixed up', async () => {
  await using test = await TestRepository.create();
  await using other = await TestRepository.create({ keys: test.keys, seed: 2 });
  const point = await protectDisk(await test.host(), chunkRange(0, 8));
  for (const name of await plantOtherOrder(test)) await test.store.delete(name);
  // Then only some of what is in the pack is wanted.
  await protectDisk(await other.host(), chunkRange(0, 3), { item: 'other' });
  const pair = { source: await test.lockedHost(), target: await other.lockedHost() };
  const { findings } = await copyPoints({ ...pair, isWanted: () => true });
  assert.deepEqual([...new Set(findings.map(({ code }) => code))], ['object-damaged']);
  const copied = (await (await other.host()).points()).find(({ id }) => id === point.id);
  await assertWhole(other, copied!, chunkRange(0, 8));
});

test('a copy makes no point when a chunk is only said to be where another one is', async () => {
  await using test = await TestRepository.create();
  await using other = await TestRepository.create({ keys: test.keys, seed: 2 });
  const host = await test.host();
  const alone = await protectDisk(host, chunkRange(0, 1), { item: 'alone' });
  const point = await protectDisk(host, chunkRange(0, 8));
  const [lost, ...others] = await childrenOf(host, point);
  assert.deepEqual(await childrenOf(host, alone), [lost]);
  await takeAway(test, lost!);
  for (const stolen of others.slice(0, 2)) {
    for (const pack of await packsIn(test)) {
      const entry = pack.entries.find(({ id }) => id.equals(stolen));
      if (!entry) continue;
      const forged = encodeIndexObject([{ ...pack, entries: [{ ...entry, id: lost! }] }], 0);
      await test.store.put(forged.name, forged.bytes);
    }
    const pair = { source: await test.lockedHost(), target: await other.lockedHost() };
    const copying = copyPoints({ ...pair, isWanted: ({ id }) => id === point.id });
    await assert.rejects(copying, isCofferError);
    assert.deepEqual(await (await other.host()).points(), []);
  }
});

async function packsIn(test: TestRepository): Promise<PackDescription[]> {
  const packs: PackDescription[] = [];
  for (const name of await namesOf(test.store, 'index/')) {
    packs.push(...decodeIndexObject({ name, bytes: await getWhole(test.store, name) }));
  }
  return packs;
}

for (const damage of ['flipped', 'gone'] as const) {
  test(`a copy takes a chunk from where it is whole when the first place is ${damage}`, async () => {
    await using test = await TestRepository.create();
    await using other = await TestRepository.create({ keys: test.keys, seed: 2 });
    const point = await protectDisk(await test.host(), chunkRange(0, 20));
    const pack = await plantChunk(test, point);
    const bytes = await getWhole(test.store, pack);
    await test.store.delete(pack);
    bytes[30]! ^= 1;
    if (damage === 'flipped') await test.store.put(pack, bytes);
    const pair = { source: await test.lockedHost(), target: await other.lockedHost() };
    await copyPoints({ ...pair, isWanted: () => true });
    const [copied] = await (await other.host()).points();
    await assertWhole(other, copied!, chunkRange(0, 20));
  });
}

test('a place that an index object of an earlier generation tells counts for nothing', async () => {
  await using test = await TestRepository.create();
  const host = await test.host();
  const point = await protectDisk(host, chunkRange(0, 20));
  await host.removePoint(await protectDisk(host, chunkRange(50, 90), { item: 'gone' }));
  await collectGarbage({ repository: await test.lockedHost(), plan: EAGER });
  await plantOtherOrder(test);
  const reader = await test.host();
  const { objects } = await reader.index.synchronize(reader.store);
  const stored = await namesOf(test.store, 'index/');
  assert.ok(stored.length > objects.size, 'there are some');
  await assertWhole(test, point, chunkRange(0, 20));
  for (const id of await childrenOf(reader, point)) {
    assert.equal(reader.index.places(id).length, 1);
  }
});
