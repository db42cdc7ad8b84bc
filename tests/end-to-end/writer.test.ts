// A host that makes points and reads none.
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Backup, Sandbox } from './testing/sandbox.ts';

test('with the key of a writer all is done but reading', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ 'a/file': 'content', other: 'more' });
  const key = sandbox.path('writer.key');
  await sandbox.done('key', 'writer', '--to', key);
  assert.equal(statSync(key).mode & 0o777, 0o600);
  await sandbox.fails(['key', 'writer', '--to', key], 'target-unwritable', 15);
  const writer = { env: { COFFER_PASSPHRASE: '', COFFER_WRITER_KEY_FILE: key } };
  const backUp = () => sandbox.json<Backup>(['backup', source, '--item', 'i'], 0, writer);
  const first = await backUp();
  assert.ok(first.bytesRead > 0);
  assert.equal((await backUp()).bytesRead, 0);
  writeFileSync(join(source, 'other'), 'changed');
  const changed = await backUp();
  assert.equal(changed.bytesRead, 'changed'.length);
  for (const words of [
    ['restore', 'i@latest', '--to', sandbox.path('out')],
    ['ls', 'i@latest'],
    ['key', 'writer', '--to', sandbox.path('another')],
    ['key', 'add'],
  ]) {
    const { message } = await sandbox.fails(words, 'passphrase-missing', 11, writer);
    assert.match(message, /a writer/, words.join(' '));
  }
  assert.equal((await sandbox.json<unknown[]>(['points'], 0, writer)).length, 3);
  await sandbox.json(['gc'], 0, writer);
  await sandbox.done('verify', '--read-data');
  await sandbox.done('restore', changed.point, '--to', sandbox.path('out'));
  assert.equal(readFileSync(sandbox.path('out/other'), 'utf8'), 'changed');
});

test('what is no key of a writer, or of another repository, is refused', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: 'a' });
  const key = sandbox.path('no.key');
  writeFileSync(key, '{}');
  await sandbox.fails(['backup', source, '--writer-key-file', key], 'usage', 2);
  await sandbox.fails(['backup', source, '--writer-key-file', sandbox.path('none')], 'usage', 2);
  const hex = 'ab'.repeat(32);
  const foreign = { format: 'coffer-writer-key-1', publicKey: hex, hashKey: hex };
  writeFileSync(key, JSON.stringify(foreign));
  await sandbox.fails(['backup', source, '--writer-key-file', key], 'passphrase-wrong', 11);
});
