import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { healthOf, type Look } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { folderLook, nativeCodeLooks, runtimeLook, secretFileLook } from './host.ts';
import { spaceLook } from './store-space.ts';

const folder = mkdtempSync(join(tmpdir(), 'coffer-health-'));
after(() => rmSync(folder, { recursive: true }));

async function codesOf(...looks: readonly Look<string>[]): Promise<string[]> {
  return (await healthOf(testRun(), looks)).map(({ code, status }) => `${status} ${code}`);
}

test('a runtime is the pinned one or another', async () => {
  const looks = ['v1', 'v2', undefined].map((pinned) => runtimeLook({ version: 'v1', pinned }));
  const other = 'warning runtime-other';
  assert.deepEqual(await codesOf(...looks), ['ok runtime-pinned', other, other]);
});

test('native code is tried', async () => {
  const codes = new Set(await codesOf(...nativeCodeLooks()));
  assert.deepEqual([...codes], ['ok native-code-loads']);
});

test('a folder is made, and told where others can write to it, or nobody', async () => {
  const look = (path: string, isCache = false): Look<string> =>
    folderLook({ subject: 'x', folderOf: () => path, isCache });
  const made = join(folder, 'a/b');
  assert.deepEqual(await codesOf(look(made)), ['ok folder-private']);
  assert.equal(statSync(made).mode & 0o777, 0o700);
  chmodSync(made, 0o770);
  assert.deepEqual(await codesOf(look(made)), ['warning folder-open-to-others']);
  const file = join(folder, 'file');
  writeFileSync(file, '');
  assert.deepEqual(await codesOf(look(join(file, 'x')), look(join(file, 'x'), true)), [
    'failure folder-unusable',
    'warning folder-unusable-for-cache',
  ]);
});

test('a file of a secret is for its owner', async () => {
  const file = join(folder, 'secret');
  const code = async (): Promise<string> => (await codesOf(secretFileLook(file)))[0]!;
  assert.equal(await code(), 'ok secret-file-absent');
  writeFileSync(file, '', { mode: 0o600 });
  assert.equal(await code(), 'ok secret-file-private');
  chmodSync(file, 0o640);
  assert.equal(await code(), 'warning secret-file-open-to-others');
});

test('the room of a store is told by a file system, and by no other', async () => {
  mkdirSync(join(folder, 'store'));
  const [local, bucket] = await codesOf(
    spaceLook(join(folder, 'store')),
    spaceLook('s3://bucket/prefix'),
  );
  assert.match(local!, /^(ok space-ample|warning space-scarce)$/);
  assert.equal(bucket, 'ok space-untold');
  assert.deepEqual(await codesOf(spaceLook(join(folder, 'gone'))), ['failure unseen']);
});
