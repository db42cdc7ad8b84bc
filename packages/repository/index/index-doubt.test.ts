import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { type Database, open } from 'lmdb';
import { inlineChunkPool } from '../chunk/chunk-work.ts';
import { collectGarbage } from '../gc/run.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import { Repository, type UnlockedRepository } from '../repository.ts';
import {
  chunkRange,
  namesOf,
  onGet,
  protectDisk,
  readDisk,
  testProcesses,
  TestRepository,
} from '../testing/test-repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { ChunkIndex } from './chunk-index.ts';
import { IndexFolder } from './index-folder.ts';
import { LOCATION_SIZE_BYTES } from './location.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-index-doubt-'));
after(() => rmSync(base, { recursive: true }));
let made = 0;

type Table = 'chunks' | 'packs' | 'objects';
type Damage = readonly [name: string, table: Table, damage: (value: Buffer) => Buffer | undefined];

const DAMAGES: readonly Damage[] = [
  ['lost chunks', 'chunks', () => undefined],
  ['other offsets', 'chunks', (value) => changed(value, 14)],
  ['other lengths', 'chunks', (value) => changed(value, 18)],
  ['impossible lengths', 'chunks', (value) => changed(value, 21)],
  ['other keys', 'chunks', (value) => changed(value, 4)],
  ['other ordinals', 'chunks', (value) => changed(value, 10)],
  ['other plain lengths', 'chunks', (value) => changed(value, 22, 4)],
  ['other kinds', 'chunks', (value) => changed(value, 22)],
  ['unknown packs', 'chunks', (value) => changed(value, 0, 64)],
  ['values cut short', 'chunks', (value) => value.subarray(0, LOCATION_SIZE_BYTES - 3)],
  ['no packs', 'packs', () => undefined],
  ['packs of another form', 'packs', () => Buffer.from('{"pack":7}')],
  ['packs that are no JSON', 'packs', (value) => value.subarray(1)],
];

function changed(value: Buffer, place: number, by = 1): Buffer {
  const copy = Buffer.from(value);
  copy[place]! ^= by;
  return copy;
}

/** As a disk does it that lies: nothing crashes, and the file is sealed. */
async function damageTable(folder: string, [, table, damage]: Damage): Promise<void> {
  const inUse = IndexFolder.enter(folder);
  const root = open({ path: folder, maxDbs: 12, overlappingSync: false });
  const keyEncoding = table === 'packs' ? 'uint32' : 'binary';
  const values: Database<Buffer, Buffer | number> = root.openDB({
    name: table,
    keyEncoding,
    encoding: 'binary',
  });
  for (const { key, value } of Array.from(values.getRange())) {
    const after = damage(Buffer.from(value));
    const owned = typeof key === 'number' ? key : Buffer.from(key);
    if (after) values.putSync(owned, after);
    else values.removeSync(owned);
  }
  await root.close();
  inUse.leave();
}

async function openWith(test: TestRepository, folder: string): Promise<UnlockedRepository> {
  const { store, clock, random } = test;
  const repository = await Repository.open(testRun({ clock, random }), {
    store,
    index: ChunkIndex.open(folder),
    processes: testProcesses,
    chunkPool: inlineChunkPool(random),
  });
  return repository.unlockWith(test.keys);
}

/** A repository with a point, and the folder of an index that is in step with it. */
async function withIndex(): Promise<{
  readonly test: TestRepository;
  readonly point: RecoveryPoint;
  readonly folder: string;
}> {
  const test = await TestRepository.create();
  const point = await protectDisk(await test.host(), chunkRange(0, 30));
  const folder = join(base, String(made++));
  const index = ChunkIndex.open(folder);
  await index.synchronize(test.store);
  await index.close();
  return { test, point, folder };
}

for (const damage of DAMAGES) {
  test(`an index with ${damage[0]} is no damage of the repository`, async () => {
    const { test, point, folder } = await withIndex();
    await using _ = test;
    await damageTable(folder, damage);
    const repository = await openWith(test, folder);
    assert.deepEqual(await readDisk(repository, point), chunkRange(0, 30));
    const { findings } = await verifyRepository({ repository, readFraction: 1 });
    assert.deepEqual(findings, []);
    assert.equal((await collectGarbage({ repository })).outcome, 'nothing-to-do');
    await repository.index.close();
  });
}

test('damage of the repository is told after one look, and the index stays', async () => {
  const { test, point, folder } = await withIndex();
  await using _ = test;
  const victim = (await openWith(test, folder)).index;
  const packs = Array.from(victim.packs(), ({ pack }) => packObjectName(pack));
  await victim.close();
  for (const name of packs) await test.store.delete(name);
  const read: string[] = [];
  const watched = Object.assign(Object.create(test) as TestRepository, {
    store: onGet(test.store, (name) => void (name.startsWith('index/') && read.push(name))),
  });
  const repository = await openWith(watched, folder);
  const reading = readDisk(repository, point);
  await assert.rejects(reading, (error) => isCofferError(error, 'chunk-missing'));
  assert.deepEqual(read, await namesOf(test.store, 'index/'));
  assert.equal(repository.index.replacementCount, 0);
  await repository.index.close();
});
