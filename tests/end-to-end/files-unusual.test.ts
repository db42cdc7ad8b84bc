// Files and targets that are not as one expects: what is restored is right, and nothing else changes.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually } from '../guests/eventually.ts';
import { Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;

/** With a point of files, and a folder to restore to. */
async function protectedFiles(files: Record<string, string | Buffer>) {
  const sandbox = await Sandbox.withRepository();
  await sandbox.done('backup', sandbox.source(files), '--item', 'files');
  const target = sandbox.path('target');
  mkdirSync(target);
  const restore = async (...more: string[]): Promise<string> =>
    await sandbox.done('restore', 'files@latest', '--to', target, ...more);
  return { sandbox, target, restore };
}

test('what is written to one name of a file of the target is not written to its others', async () => {
  const { sandbox, target, restore } = await protectedFiles({ a: 'AAAA', b: 'BBBB' });
  using _sandbox = sandbox;
  writeFileSync(sandbox.path('outside'), 'XXXX');
  for (const name of ['a', 'b']) linkSync(sandbox.path('outside'), join(target, name));
  await restore('--delta');
  const content = (path: string): string => readFileSync(path, 'utf8');
  assert.deepEqual([content(join(target, 'a')), content(join(target, 'b'))], ['AAAA', 'BBBB']);
  assert.equal(content(sandbox.path('outside')), 'XXXX');
});

test('files that have the names of files that are being written are files', async () => {
  const [large, other] = [randomBytes(3 * MIB), randomBytes(2 * MIB)];
  const long = 'n'.repeat(254);
  const files = {
    x: large,
    'x.coffer-new': other,
    'x.coffer-partial': other,
    [`${long}1`]: large,
    [`${long}2`]: other,
  };
  const { sandbox, target, restore } = await protectedFiles(files);
  using _sandbox = sandbox;
  for (const name of Object.keys(files)) writeFileSync(join(target, name), 'old');
  await restore('--on-conflict', 'overwrite');
  for (const [name, content] of Object.entries(files)) {
    assert.ok(readFileSync(join(target, name)).equals(content), name);
  }
  assert.equal(readdirSync(target).length, Object.keys(files).length);
});

test('a file is there under its name only when it is whole', async () => {
  const large = randomBytes(24 * MIB);
  const { sandbox, target, restore } = await protectedFiles({ large });
  using _sandbox = sandbox;
  const child = sandbox.start(['restore', 'files@latest', '--to', target, '--limit-rate', '1M']);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await eventually('it is being written', () => readdirSync(target).length > 0);
  child.kill('SIGKILL');
  await ended;
  assert.ok(!existsSync(join(target, 'large')));
  await restore('--on-conflict', 'skip');
  assert.ok(readFileSync(join(target, 'large')).equals(large));
});

test('what is not included stays, and what cannot be replaced, too', async () => {
  const { sandbox, target, restore } = await protectedFiles({ 'docs/a': 'a', b: 'b' });
  using _sandbox = sandbox;
  symlinkSync('elsewhere', join(target, 'docs'));
  await restore('--include', '/b', '--on-conflict', 'overwrite');
  assert.ok(lstatSync(join(target, 'docs')).isSymbolicLink());
  await restore('--include', '/docs/a', '--on-conflict', 'overwrite');
  assert.equal(readFileSync(join(target, 'docs/a'), 'utf8'), 'a');
});

test('a file that is lost is not replaced by what is under another of its names', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: randomBytes(5 * MIB) });
  linkSync(join(source, 'a'), join(source, 'z'));
  await sandbox.done('backup', source, '--item', 'files');
  const packs = readdirSync(sandbox.path('repo/packs'), { recursive: true })
    .map((name) => sandbox.path('repo/packs', String(name)))
    .filter((path) => statSync(path).size > MIB);
  for (const pack of packs) rmSync(pack);
  const target = sandbox.path('target');
  mkdirSync(target);
  for (const name of ['a', 'z']) writeFileSync(join(target, name), `old ${name}`);
  const words = ['restore', 'files@latest', '--to', target, '--on-conflict', 'overwrite'];
  await sandbox.fails(words, 'chunk-missing', 20);
  for (const name of ['a', 'z']) {
    assert.equal(readFileSync(join(target, name), 'utf8'), `old ${name}`);
  }
});

test('nobody may read a restored file whom its folder would let in', async () => {
  const { sandbox, target, restore } = await protectedFiles({ secret: 'x' });
  using _sandbox = sandbox;
  execFileSync('setfacl', ['-m', 'd:u:12345:rwx', target]);
  await restore('--on-conflict', 'overwrite');
  const acl = execFileSync('getfacl', ['-cn', join(target, 'secret')], { stdio: 'pipe' });
  assert.doesNotMatch(acl.toString(), /12345/);
});

test('patterns tell capital letters from small ones', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ 'a.tmp': '', 'B.TMP': '', 'build/x': '', 'Build/y': '' });
  const left = ['--exclude', '*.tmp', '--exclude', 'build'];
  await sandbox.done('backup', source, '--item', 'files', ...left);
  const listed = await sandbox.done('ls', 'files@latest');
  assert.match(listed, /B\.TMP/);
  assert.match(listed, /Build/);
  assert.doesNotMatch(listed, /a\.tmp|build/);
});

test('a repository does not protect itself', async () => {
  using sandbox = await Sandbox.withRepository();
  writeFileSync(sandbox.path('home/file'), randomBytes(MIB));
  const stored: number[] = [];
  for (let round = 0; round < 2; round++) {
    const words = ['backup', sandbox.folder, '--item', 'all', '--exclude', 'cache'];
    stored.push((await sandbox.json<{ bytesStored: number }>(words)).bytesStored);
  }
  assert.ok(stored[1]! < MIB / 4, `${stored[1]} bytes were stored again`);
  assert.doesNotMatch(await sandbox.done('ls', 'all@latest'), / repo$/m);
});

test('a target that is no place for an image stays what it is', async () => {
  using sandbox = await Sandbox.withRepository();
  writeFileSync(sandbox.path('disk.raw'), randomBytes(MIB));
  await sandbox.done('backup', '--disk', sandbox.path('disk.raw'), '--item', 'disk');
  const device = sandbox.path('null');
  execFileSync('mknod', [device, 'c', '1', '3']);
  await sandbox.fails(['export', 'disk@latest', '--to', device], 'target-unwritable', 15);
  await sandbox.fails(['restore', 'disk@latest', '--to', device], 'target-unwritable', 15);
  assert.ok(statSync(device).isCharacterDevice());
});

test('a raw image that begins like another format is not guessed at', async () => {
  using sandbox = await Sandbox.withRepository();
  const disguised = sandbox.path('disk.raw');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', disguised, '64M']);
  await sandbox.fails(['backup', '--disk', disguised], 'image-format-unknown', 14);
  await sandbox.done('backup', '--disk', disguised, '--format', 'raw', '--item', 'disk');
  const restored = sandbox.path('restored.raw');
  await sandbox.done('restore', 'disk@latest', '--to', restored);
  assert.ok(readFileSync(restored).equals(readFileSync(disguised)));
});

test('what a point cannot be labelled with is told before anything is read', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ file: 'x' });
  const long = 'x'.repeat(2000);
  await sandbox.fails(['backup', source, '--tag', `why=${long}`], 'usage', 2);
  await sandbox.fails(['backup', source, '--item', long], 'usage', 2);
});
