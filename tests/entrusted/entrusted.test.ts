/** Whole restores in a process that never has the private key. */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemProcesses, systemRandom } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import {
  boxOpener,
  inlineChunkPool,
  Repository,
  type UnlockedRepository,
} from '@coffer/repository';
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';
import { PASSPHRASE, Sandbox } from '../end-to-end/testing/sandbox.ts';
import { snapshot } from '../end-to-end/testing/snapshot.ts';
import { type Answer, type Order, parseQuestion } from './messages.ts';

async function openAsKeyHolder(sandbox: Sandbox): Promise<UnlockedRepository> {
  const locked = await Repository.open(testRun(), {
    store: await openFilesystemStore(sandbox.path('repo'), { create: false }),
    index: { cacheFolder: undefined },
    processes: systemProcesses,
    chunkPool: inlineChunkPool(systemRandom),
  });
  return await locked.unlock(PASSPHRASE);
}

/** Restores the point in a process of its own; returns how often it asked, and all that it was told. */
async function restoreEntrusted(
  repository: UnlockedRepository,
  { pointId, target }: { readonly pointId: string; readonly target: string },
): Promise<{ asked: number; told: string }> {
  const open = boxOpener(repository.allKeys);
  const [point] = await repository.points({ filter: { idPrefix: pointId } });
  const { publicKey, hashKey } = repository.keys;
  const order: Order = {
    location: repository.location,
    publicKey: publicKey.toString('hex'),
    hashKey: hashKey.toString('hex'),
    point: point!.id,
    manifest: repository.openManifest(point!),
    target,
  };
  let asked = 0;
  let told = JSON.stringify(order);
  const child = fork(join(import.meta.dirname, 'restoring.ts'));
  const answer = async (question: number, boxes: readonly string[]): Promise<void> => {
    asked++;
    const keys = await open(boxes.map((box) => Buffer.from(box, 'hex')));
    const message: Answer = { question, keys: keys.map((key) => key.toString('hex')) };
    told += JSON.stringify(message);
    child.send(message);
  };
  child.send(order);
  await untilDone(child, answer);
  return { asked, told };
}

async function untilDone(
  child: ChildProcess,
  answer: (question: number, boxes: readonly string[]) => Promise<void>,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.on('exit', () => reject(new Error('it ended early')));
    child.on('message', (message) => {
      const question = parseQuestion(message);
      if (question.type === 'open') answer(question.question, question.boxes).catch(reject);
      else if (question.type === 'done') resolve();
      else reject(new Error(question.reason));
    });
  }).finally(() => child.disconnect());
}

test('files and disks are restored whole by a process that never has the private key', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({
    'a/small': 'small',
    'a/large': randomBytes(5 * 2 ** 20),
    empty: '',
  });
  const image = sandbox.path('disk.raw');
  writeFileSync(image, randomBytes(3 * 2 ** 20));
  truncateSync(image, 16 * 2 ** 20);
  const files = await sandbox.json<{ point: string }>(['backup', source, '--item', 'files']);
  const disk = await sandbox.json<{ point: string }>(['backup', '--disk', image, '--item', 'disk']);
  const repository = await openAsKeyHolder(sandbox);
  const targets = { files: sandbox.path('restored'), disk: sandbox.path('restored.raw') };
  const restored = [
    await restoreEntrusted(repository, { pointId: files.point, target: targets.files }),
    await restoreEntrusted(repository, { pointId: disk.point, target: targets.disk }),
  ];
  assert.deepEqual(snapshot(targets.files), snapshot(source));
  assert.ok(readFileSync(targets.disk).equals(readFileSync(image)));
  const secret = repository.allKeys.privateKey.toString('hex');
  for (const { asked, told } of restored) {
    assert.ok(asked > 0 && asked < 10, `it asked ${asked} times`);
    assert.ok(!told.includes(secret));
  }
  await repository.close();
});
