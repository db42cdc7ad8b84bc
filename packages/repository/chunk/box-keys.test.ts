import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError, isCofferError } from '@coffer/base';
import { packObjectName } from '../pack/pack-codec.ts';
import type { UnlockedRepository } from '../repository.ts';
import {
  chunkRange,
  getWhole,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from '../testing/test-repository.ts';
import { boxOpener, type BoxOutcome, type OpenBoxes } from './box-keys.ts';
import { SlabPool } from './slab.ts';
import { startChunkThreads } from './threads.ts';

const CHUNKS = chunkRange(0, 40);

/** Who holds the private key, and what it was asked. */
function keyHolder(test: TestRepository): { openBoxes: OpenBoxes; calls: number[] } {
  const open = boxOpener(test.keys);
  const calls: number[] = [];
  const openBoxes: OpenBoxes = async (boxes) => {
    calls.push(boxes.length);
    return await open(boxes);
  };
  return { openBoxes, calls };
}

/** A host that has all but the private key. */
async function entrusted(
  test: TestRepository,
  openBoxes: OpenBoxes,
  options: Parameters<TestRepository['lockedHost']>[0] = {},
): Promise<UnlockedRepository> {
  const { publicKey, hashKey } = test.keys;
  const locked = await test.lockedHost(options);
  return locked.entrustWith({ publicKey, hashKey, openBoxes, manifests: new Map() });
}

async function readInOneWindow(repository: UnlockedRepository): Promise<Buffer[]> {
  const [point] = await repository.points();
  const reader = repository.reader();
  const { children } = await reader.readNode(Buffer.from(point!.roots[0]!.root, 'hex'));
  const requests = children.map((id, index) => ({ id, length: 600, targetOffset: index * 600 }));
  return await new SlabPool(1).use(async (slab) => {
    const failures = await reader.readInto(slab, requests, repository.work);
    assert.deepEqual(failures, []);
    return requests.map(({ targetOffset }) =>
      Buffer.from(slab.bytes.subarray(targetOffset, targetOffset + 600)),
    );
  });
}

test('a reader without the private key reads what another party opens, with few calls', async () => {
  await using test = await TestRepository.create({ packSizeBytes: 2000 });
  const point = await protectDisk(await test.host(), CHUNKS);
  const packCount = (await namesOf(test.store, 'packs/')).length;
  assert.ok(packCount > 10);
  const { openBoxes, calls } = keyHolder(test);
  const repository = await entrusted(test, openBoxes);
  assert.deepEqual(await readInOneWindow(repository), CHUNKS);
  // The root's pack, then all others at once.
  assert.deepEqual(calls, [1, packCount - 1]);
  assert.deepEqual(await readDisk(repository, point), CHUNKS);
  assert.equal(calls.length, 2, 'what was opened is remembered');
});

test('threads open chunks with keys that they are given', async () => {
  await using test = await TestRepository.create({ packSizeBytes: 2000 });
  await protectDisk(await test.host(), CHUNKS);
  const pool = startChunkThreads(2);
  const repository = await entrusted(test, keyHolder(test).openBoxes, { pool });
  assert.deepEqual(await readInOneWindow(repository), CHUNKS);
  await pool.close();
});

test('what the other party fails with is thrown as it is, and asked for again', async () => {
  await using test = await TestRepository.create();
  const point = await protectDisk(await test.host(), CHUNKS);
  const { openBoxes } = keyHolder(test);
  let isAway = true;
  const repository = await entrusted(test, async (boxes) => {
    if (isAway) throw new CofferError('store-unavailable');
    return await openBoxes(boxes);
  });
  const away = (error: unknown): boolean => isCofferError(error, 'store-unavailable');
  await assert.rejects(readDisk(repository, point), away);
  await assert.rejects(readInOneWindow(repository), away);
  isAway = false;
  assert.deepEqual(await readDisk(repository, point), CHUNKS);
});

test('a refused box fails as refused, and one that is not a key as damage of its chunks', async () => {
  await using test = await TestRepository.create();
  const point = await protectDisk(await test.host(), CHUNKS);
  const cases: readonly [BoxOutcome, 'key-refused' | 'chunk-damaged'][] = [
    ['refused', 'key-refused'],
    ['damaged', 'chunk-damaged'],
    [Buffer.alloc(31), 'chunk-damaged'],
    [Buffer.alloc(32), 'chunk-damaged'],
  ];
  for (const [outcome, code] of cases) {
    const repository = await entrusted(test, async (boxes) => boxes.map(() => outcome));
    await assert.rejects(readDisk(repository, point), (error) => isCofferError(error, code));
  }
  const short = await entrusted(test, async () => []);
  await assert.rejects(readDisk(short, point), (error) => isCofferError(error, 'chunk-damaged'));
});

test('where one place of a chunk is not opened, another one is read', async () => {
  await using test = await TestRepository.create();
  const first = await protectDisk(await test.host(), CHUNKS);
  const firstPacks = await namesOf(test.store, 'packs/');
  // The same chunks once more, by a host that does not find them.
  const packs = new Map<string, Buffer>();
  for (const name of firstPacks) {
    packs.set(name, await getWhole(test.store, name));
    await test.store.delete(name);
  }
  await protectDisk(await test.host(), CHUNKS, { item: 'again' });
  for (const [name, bytes] of packs) await test.store.put(name, bytes);
  const host = await test.lockedHost();
  await host.index.synchronize(test.store);
  const refused = new Set<string>();
  for (const { pack, keyBoxes } of host.index.packs()) {
    if (!firstPacks.includes(packObjectName(pack))) continue;
    for (const box of keyBoxes) refused.add(box.toString('hex'));
  }
  const { openBoxes } = keyHolder(test);
  const repository = await entrusted(test, async (boxes) => {
    const outcomes = await openBoxes(boxes);
    return boxes.map((box, index) =>
      refused.has(box.toString('hex')) ? 'refused' : outcomes[index]!,
    );
  });
  assert.deepEqual(await readDisk(repository, first), CHUNKS);
  assert.deepEqual(await readInOneWindow(repository), CHUNKS);
});

test('without the private key, there is no key to give on, and manifests are those that were given', async () => {
  await using test = await TestRepository.create();
  const point = await protectDisk(await test.host(), CHUNKS);
  const { publicKey, hashKey } = test.keys;
  const { openBoxes } = keyHolder(test);
  const manifests = new Map([[point.id, { said: true }]]);
  const locked = await test.lockedHost();
  const repository = locked.entrustWith({ publicKey, hashKey, openBoxes, manifests });
  assert.throws(
    () => repository.allKeys,
    (error) => isCofferError(error, 'passphrase-missing'),
  );
  assert.deepEqual(repository.openManifest(point), { said: true });
  const other = { ...point, id: '00'.repeat(16) };
  assert.throws(
    () => repository.openManifest(other),
    (error) => isCofferError(error, 'key-refused'),
  );
  const foreign = { publicKey, hashKey: Buffer.alloc(32), openBoxes, manifests };
  assert.throws(
    () => locked.entrustWith(foreign),
    (error) => isCofferError(error, 'passphrase-wrong'),
  );
  // It writes as any other writer does.
  const added = await protectDisk(repository, chunkRange(30, 60), { item: 'added' });
  assert.deepEqual(await readDisk(await test.host(), added), chunkRange(30, 60));
});
