/** A job makes its points once, however often it is tried. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import type { UnlockedRepository } from '@coffer/repository';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import { backup, type BackupResult } from './backup.ts';

const folder = mkdtempSync(join(tmpdir(), 'coffer-attempt-'));
after(() => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, 'file'), 'content');

const KEY = 'daily of files at 2026-12-01T02:00Z';

async function tried(repository: UnlockedRepository, number: number): Promise<BackupResult> {
  return await backup(testRun(), {
    repository,
    source: { kind: 'files', path: folder, parent: 'none', exclude: [], oneFileSystem: false },
    item: 'files',
    tags: {},
    attempt: { key: KEY, number },
  });
}

test('an attempt after one that has made its point makes none, and names that', async () => {
  await using test = await TestRepository.create();
  const { point } = await tried(await test.host(), 1);
  const other = await test.host();
  for (const number of [1, 2]) {
    await assert.rejects(tried(other, number), (error) => {
      assert.ok(isCofferError(error, 'already-made'));
      assert.deepEqual(error.details, { job: KEY, points: point });
      return true;
    });
  }
  assert.deepEqual(
    (await other.points()).map(({ id }) => id),
    [point],
  );
});

test('an attempt that a later one has overtaken makes nothing', async () => {
  await using test = await TestRepository.create();
  const late = await test.host();
  const begun = await late.beginAttempt({ key: KEY, number: 1 });
  assert.ok(begun.outcome === 'begun');
  const { point } = await tried(await test.host(), 2);
  await assert.rejects(begun.session.commit([]), (error) => isCofferError(error, 'session-fenced'));
  assert.deepEqual(
    (await late.points()).map(({ id }) => id),
    [point],
  );
});
