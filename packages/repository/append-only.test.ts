import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, isCofferError } from '@coffer/base';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import { appendOnly } from '@coffer/storage/testing/append-only.ts';
import { copyPoints } from './copy/copy.ts';
import { collectGarbage } from './gc/run.ts';
import { newKeySlot, readKeySlots, removeKeySlot, writeKeySlot } from './keys.ts';
import { generateRecoveryKey } from './recovery-key.ts';
import { repairRepository } from './repair/repair.ts';
import { initRepository } from './init.ts';
import { inlineChunkPool } from './chunk/chunk-work.ts';
import { Repository } from './repository.ts';
import {
  chunkRange,
  namesOf,
  protectDisk,
  readDisk,
  stillClock,
  testProcesses,
  TestRepository,
  writeDisk,
} from './testing/test-repository.ts';
import { verifyRepository } from './verify/verify.ts';
import { seededRandom } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';

async function failsWith(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => isCofferError(error, code));
}

/** One that others reach through a store that gives nothing up. */
async function withAppender(options: { finishesSessions?: boolean } = {}) {
  const test = await TestRepository.create();
  const store = appendOnly(test.store, options);
  return { test, store, appender: await test.host({ store }) };
}

test('an append-only store takes points, holds, keys and copies, and gives them back', async () => {
  const { test, appender } = await withAppender();
  await using _ = test;
  const first = await protectDisk(appender, chunkRange(0, 5));
  const second = await protectDisk(appender, chunkRange(3, 9));
  await appender.hold(first, { holder: 'person', reason: '', by: 'somebody' });
  const secret = generateRecoveryKey(test.random);
  const slot = { keys: test.keys, createdAt: 0, random: test.random };
  await writeKeySlot(
    appender.store,
    await newKeySlot({ ...slot, kind: 'recovery', secret, label: '' }),
  );
  assert.deepEqual(await readDisk(appender, second), chunkRange(3, 9));
  assert.equal((await readKeySlots(appender)).length, 1);
  const { findings } = await verifyRepository({ repository: appender, readFraction: 1 });
  assert.deepEqual(findings, []);
  await using source = await TestRepository.create({ keys: test.keys, seed: 2 });
  const from = await source.host();
  await protectDisk(from, chunkRange(20, 25), { item: 'copied' });
  await copyPoints({ source: from, target: appender, isWanted: () => true });
  assert.equal((await appender.points()).length, 3);
});

test('what deletes is refused before it does anything', async () => {
  const { test, appender } = await withAppender();
  await using _ = test;
  const point = await protectDisk(appender, chunkRange(0, 5));
  const before = await namesOf(test.store, '');
  const calls = [
    () => appender.removePoint(point),
    () => appender.release(point, 'person'),
    () => appender.softDelete(point, { until: 0, by: '' }),
    () => appender.undelete(point),
    () => collectGarbage({ repository: appender }),
    () => repairRepository({ repository: appender, rebuildIndex: true }),
    () => removeKeySlot(appender, '0000', 'a secret'),
  ];
  for (const call of calls) await failsWith('store-append-only', call());
  assert.deepEqual(await namesOf(test.store, ''), before);
  assert.equal((await collectGarbage({ repository: appender, dryRun: true })).outcome, 'planned');
});

test('what sessions leave in an append-only store, a collection of its owner removes', async () => {
  const { test, appender } = await withAppender();
  await using _ = test;
  const point = await protectDisk(appender, chunkRange(0, 5));
  await (await appender.beginSession()).abandon();
  assert.notDeepEqual(await namesOf(test.store, 'sessions/'), []);
  const owner = await test.host();
  await collectGarbage({ repository: owner });
  assert.deepEqual(await namesOf(test.store, 'sessions/'), []);
  assert.deepEqual(await readDisk(owner, point), chunkRange(0, 5));
});

test('a point that was removed is not listed again from a session that was left', async () => {
  const { test, appender } = await withAppender();
  await using _ = test;
  const point = await protectDisk(appender, chunkRange(0, 5));
  await (await test.host()).removePoint(point);
  await protectDisk(appender, chunkRange(7, 9));
  assert.equal((await appender.points()).length, 1);
});

test('a repository is made in an append-only store', async () => {
  const store = appendOnly(openMemoryStore());
  const random = seededRandom(1);
  const passphrase = 'a passphrase that is long';
  const options = { store, clock: stillClock(), random, passphrase };
  await initRepository({ ...options, recoveryKey: generateRecoveryKey(random) });
  await failsWith(
    'repository-exists',
    initRepository({ ...options, recoveryKey: generateRecoveryKey(random) }),
  );
  await using test = await TestRepository.create();
  const index = (await test.host()).index;
  const chunkPool = inlineChunkPool(random);
  const opened = await Repository.open(testRun({ clock: options.clock, random }), {
    store,
    index,
    chunkPool,
    processes: testProcesses,
  });
  await opened.unlock(passphrase);
});

test('where the store finishes sessions, a commit ends with the end', async () => {
  const { test, store, appender } = await withAppender({ finishesSessions: true });
  await using _ = test;
  const session = await appender.beginSession();
  await session.commit([await writeDisk(appender, session, chunkRange(0, 5))]);
  assert.deepEqual(await namesOf(store, 'points/'), []);
  assert.equal((await appender.points()).length, 1, 'it exists from its end on');
  // Another writer leaves it alone, too.
  const other = await test.host({ store });
  await (await other.beginSession()).commit([]);
  assert.deepEqual(await namesOf(store, 'points/'), []);
  const owner = await test.host();
  await (await owner.beginSession()).abandon();
  assert.equal((await namesOf(store, 'points/')).length, 1);
});
