// A store may hold anything under a name of ours: sparse files of 40 GiB stand for what a stranger
// or a broken server has put there. Nothing that is whole suffers from them.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '@coffer/base';
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';
import { copyPoints } from './copy/copy.ts';
import { newKeySlot, readKeySlots, writeKeySlot } from './keys.ts';
import { generateRecoveryKey } from './recovery-key.ts';
import { itemFolder } from './recovery-point.ts';
import { repairRepository } from './repair/repair.ts';
import {
  chunkRange,
  getWhole,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from './testing/test-repository.ts';
import { verifyRepository } from './verify/verify.ts';

const HUGE_BYTES = 40 * 1024 ** 3;
const ZERO_POINT = '0'.repeat(32);
const ZERO_DIGEST = '0'.repeat(64);

/** Names that are listed and read whole, each of another kind. */
const JUNK_NAMES = [
  `${itemFolder('disk')}00000000-${ZERO_POINT}`,
  `${itemFolder('other')}00000000-${'1'.repeat(32)}`,
  `index/00000000-${ZERO_DIGEST}`,
  `keys/${'0'.repeat(16)}`,
  `sessions/${ZERO_POINT}-begin`,
  `sessions/${'1'.repeat(32)}-end`,
  `holds/${ZERO_POINT}-person`,
  `deleted/${ZERO_POINT}`,
  `receipts/${ZERO_POINT}`,
];

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'coffer-huge-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function putHuge(folder: string, name: string): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, '', { flag: 'a' });
  await truncate(path, HUGE_BYTES);
}

async function withHugeJunk(t: TestContext, junkNames: readonly string[] = JUNK_NAMES) {
  const folder = await folderOf(t);
  const store = await openFilesystemStore(folder);
  const test = await TestRepository.create({ store });
  t.after(() => test[Symbol.asyncDispose]());
  const point = await protectDisk(await test.host(), chunkRange(0, 5));
  const secret = generateRecoveryKey(test.random);
  const slot = { keys: test.keys, createdAt: test.clock.now(), random: test.random };
  await writeKeySlot(store, await newKeySlot({ ...slot, kind: 'recovery', secret, label: '' }));
  // Of a later generation, it would go before the point itself.
  await putHuge(folder, `points/${'0'.repeat(32)}/00000009-${point.id}`);
  for (const name of junkNames) await putHuge(folder, name);
  return { folder, test, point };
}

test('objects of 40 GiB hide no point and no chunk', async (t) => {
  const { test, point } = await withHugeJunk(t);
  const host = await test.host();
  const damaged: string[] = [];
  const points = await host.points({ onDamaged: ({ code }) => damaged.push(code) });
  assert.deepEqual(
    points.map(({ id }) => id),
    [point.id],
  );
  assert.deepEqual(damaged, Array(4).fill('object-damaged'));
  assert.deepEqual(await readDisk(host, point), chunkRange(0, 5));
  const damagedSlots: string[] = [];
  await readKeySlots(host, (_, name) => damagedSlots.push(name));
  assert.deepEqual(damagedSlots, [`keys/${'0'.repeat(16)}`]);
});

test('a verification names each object of 40 GiB, and goes on', async (t) => {
  const { test } = await withHugeJunk(t);
  const { findings, points } = await verifyRepository({
    repository: await test.host(),
    readFraction: 1,
  });
  assert.equal(points, 1);
  for (const name of JUNK_NAMES) {
    const isTold = findings.some((finding) => JSON.stringify(finding).includes(name));
    assert.ok(isTold, `${name} in ${JSON.stringify(findings)}`);
  }
});

test('backups go on beside objects of 40 GiB', async (t) => {
  const { test } = await withHugeJunk(t);
  const host = await test.host();
  const session = await host.beginSession();
  await session.commit([]);
  const points = await host.points({ onDamaged: () => {} });
  assert.equal(points.length, 1);
});

test('copies leave points of 40 GiB out, and say so', async (t) => {
  const { test, point } = await withHugeJunk(t);
  await using target = await TestRepository.create({ keys: test.keys, seed: 2 });
  const { pointsCopied, findings } = await copyPoints({
    source: await test.host(),
    target: await target.host(),
    isWanted: () => true,
  });
  assert.deepEqual(pointsCopied, [point.id]);
  assert.equal(findings.length, 4);
});

test('a repair removes objects of 40 GiB', async (t) => {
  const { folder, test, point } = await withHugeJunk(t);
  const host = await test.host();
  // As old as what no session can need that still runs.
  const longAgo = systemClock.now() / 1000 - 48 * 3600;
  for (const name of JUNK_NAMES) await utimes(join(folder, name), longAgo, longAgo);
  await repairRepository({ repository: host, rebuildIndex: false });
  const { findings } = await verifyRepository({ repository: host, readFraction: 1 });
  assert.deepEqual(findings, []);
  assert.deepEqual(await readDisk(host, point), chunkRange(0, 5));
});

test('a pack that has grown to 40 GiB is damaged, and its chunks are salvaged', async (t) => {
  const { folder, test, point } = await withHugeJunk(t, []);
  const host = await test.host();
  const [name] = await namesOf(test.store, 'packs/');
  const whole = await getWhole(test.store, name!);
  await putHuge(folder, name!);
  await writeFile(join(folder, name!), whole, { flag: 'r+' });
  const { findings } = await verifyRepository({ repository: host, readFraction: 1 });
  assert.ok(findings.some(({ subject }) => subject.name === name));
  const { chunksLost } = await repairRepository({ repository: host, rebuildIndex: false });
  assert.equal(chunksLost, 0);
  assert.deepEqual(await readDisk(await test.host(), point), chunkRange(0, 5));
});

test('a junk pack of 40 GiB does not stop the index from being made anew', async (t) => {
  const { folder, test, point } = await withHugeJunk(t);
  const host = await test.host();
  await putHuge(folder, `packs/00/${ZERO_DIGEST}`);
  const { findings } = await repairRepository({ repository: host, rebuildIndex: true });
  assert.ok(findings.some(({ subject }) => subject.name === `packs/00/${ZERO_DIGEST}`));
  assert.deepEqual(await readDisk(host, point), chunkRange(0, 5));
});
