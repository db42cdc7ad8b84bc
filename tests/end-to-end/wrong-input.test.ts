// Whatever is wrong is told with its code, and nothing is broken by it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { digest, seededRandom } from '@coffer/base';
import { type RecoveryPoint, resolvePoint } from '@coffer/repository';
import { type Backup, PASSPHRASE, Sandbox } from './testing/sandbox.ts';

const isRoot = process.getuid?.() === 0;
const MIB = 1024 * 1024;

test('wrong usage ends with 2', async () => {
  using sandbox = await Sandbox.withRepository();
  const cases = [
    ['nonsense'],
    ['backup'],
    ['backup', 'a', 'b'],
    ['restore', 'x'],
    ['ls', 'a', '--nonsense'],
    ['restore', 'x', '--to', 'y', '--on-conflict', 'explode'],
    ['completion', 'tcsh'],
    ['verify', '--read-data=0'],
    ['find', '[z-a]'],
    ['backup', '.', '--tag', 'no value'],
    ['copy', '--from', 'a'],
    ['backup', '.', '--memory'],
    ['backup', '.', '--include-swap'],
    ['backup', '.', '--limit-rate', '5M@8-18'],
    ['restore', 'x', '--to', 'y', '--resume'],
    ['restore', 'x', '--as', 'y', '--folder', '.', '--instant', '--resume'],
    ['points', '--repo', 'ftp://somewhere'],
  ];
  for (const words of cases) {
    const outcome = await sandbox.run([...words, '--json']);
    assert.equal(outcome.code, 2, words.join(' '));
    const { error } = JSON.parse(outcome.stdout.toString()) as { error: { code: string } };
    assert.match(error.code, /^(usage|location-invalid)$/, words.join(' '));
  }
});

test('a wrong or missing passphrase is told', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: '1' });
  const wrong = { env: { COFFER_PASSPHRASE: 'not the passphrase at all' } };
  await sandbox.fails(['backup', source], 'passphrase-wrong', 11, wrong);
  const none = { env: { COFFER_PASSPHRASE: undefined } };
  await sandbox.fails(['backup', source], 'passphrase-missing', 11, none);
  const file = { env: { COFFER_PASSPHRASE_FILE: sandbox.path('no such file') } };
  await sandbox.fails(['backup', source], 'passphrase-missing', 11, file);
  const short = { env: { COFFER_PASSPHRASE: 'short', COFFER_REPO: sandbox.path('new') } };
  await sandbox.fails(['init'], 'passphrase-weak', 2, short);
  assert.equal(existsSync(sandbox.path('new/config')), false);
  writeFileSync(sandbox.path('pass'), `${PASSPHRASE}\r\n`);
  const both = {
    env: { COFFER_PASSPHRASE_FILE: sandbox.path('pass'), COFFER_PASSPHRASE: 'wrong' },
  };
  assert.equal((await sandbox.run(['backup', source], both)).code, 0);
});

test('what is no repository is told', async () => {
  using sandbox = await Sandbox.withRepository();
  mkdirSync(sandbox.path('folder'));
  writeFileSync(sandbox.path('file'), '');
  for (const repo of ['folder', 'nothing', 'file', 'file/below']) {
    await sandbox.fails(['points', '--repo', sandbox.path(repo)], 'repository-not-found', 10);
  }
  assert.equal(existsSync(sandbox.path('nothing')), false);
  const key = sandbox.path('key');
  await sandbox.fails(['init', '--recovery-key-file', key], 'repository-exists', 10);
  assert.equal(existsSync(key), false, 'no key is left that opens nothing');
});

test('a repository of a newer version is left alone', async () => {
  using sandbox = await Sandbox.withRepository();
  const config = readFileSync(sandbox.path('repo/config'), 'utf8').split('\n');
  const body = Buffer.from(`coffer config 2\n${config[1]}\n`);
  writeFileSync(sandbox.path('repo/config'), `${body.toString()}${digest(body).toString('hex')}\n`);
  for (const words of [['points'], ['backup', '.'], ['gc'], ['repair'], ['ls', 'abcd']]) {
    await sandbox.fails(words, 'repository-version', 10);
  }
});

test('points that are not there, not clear or not timely are told', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: '1' });
  await sandbox.json<Backup>(['backup', source, '--item', 'i']);
  await sandbox.fails(['ls', 'ffffffff'], 'point-not-found', 12);
  await sandbox.fails(['ls', 'abc'], 'point-not-found', 12);
  await sandbox.fails(['ls', 'nobody@latest'], 'item-not-found', 12);
  await sandbox.fails(['ls', 'i@2001-01-01'], 'point-not-found', 12);
  for (const time of ['yesterday', '2026-13-45', '2026-11-20T25:61', '']) {
    await sandbox.fails(['ls', `i@${time}`], 'usage', 2);
  }
  const points = await sandbox.json<{ point: string }[]>(['points']);
  const id = points[0]!.point;
  assert.equal((await sandbox.run(['ls', id.slice(0, 4)])).code, 0);
  await sandbox.fails(['ls', id.slice(0, 3)], 'point-not-found', 12);
  await sandbox.fails(['remove', id, 'ffffffff'], 'point-not-found', 12);
  // Real ids do not share their beginnings often enough.
  const alike = ['abcd1', 'abcd2'].map((each) => ({ id: each }) as RecoveryPoint);
  assert.throws(() => resolvePoint(alike, 'abcd', 0), { code: 'point-ambiguous' });
  assert.equal((await sandbox.json<unknown[]>(['points'])).length, 1);
});

test('sources that cannot be are told', async () => {
  using sandbox = await Sandbox.withRepository();
  writeFileSync(sandbox.path('file'), 'x');
  await sandbox.fails(['backup', sandbox.path('nothing')], 'source-not-found', 14);
  await sandbox.fails(['backup', sandbox.path('file')], 'source-unreadable', 14);
  await sandbox.fails(['backup', '--disk', sandbox.path()], 'source-unreadable', 14);
  await sandbox.fails(['backup', '--disk', '/dev/null'], 'source-unreadable', 14);
});

test('a read-only store can be read, and says that it cannot be written', async (t) => {
  if (!isRoot) {
    t.skip('only root mounts');
    return;
  }
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: '1' });
  const { point } = await sandbox.json<Backup>(['backup', source]);
  const repo = sandbox.path('repo');
  execFileSync('mount', ['--bind', repo, repo]);
  execFileSync('mount', ['-o', 'remount,bind,ro', repo]);
  try {
    await sandbox.fails(['backup', source], 'store-read-only', 22);
    await sandbox.fails(['remove', point], 'store-read-only', 22);
    await sandbox.fails(['hold', point], 'store-read-only', 22);
    await sandbox.done('restore', point, '--to', sandbox.path('restored'), '--verify');
    await sandbox.done('verify', '--read-data');
    const { checks } = await sandbox.json<{ checks: { status: string; message: string }[] }>(
      ['doctor'],
      3,
    );
    assert.ok(
      checks.some(({ status, message }) => status === 'warning' && /read-only/.test(message)),
    );
  } finally {
    execFileSync('umount', [repo]);
  }
});

test('a full store is told, loses nothing, and works again with space', async (t) => {
  if (!isRoot) {
    t.skip('only root mounts');
    return;
  }
  using sandbox = new Sandbox();
  const repo = sandbox.path('repo');
  mkdirSync(repo);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', repo]);
  try {
    await sandbox.done('init');
    const random = seededRandom(23);
    const source = sandbox.source({ small: random.bytes(MIB) });
    const first = await sandbox.json<Backup>(['backup', source, '--item', 'i']);
    sandbox.source({ large: random.bytes(60 * MIB) });
    await sandbox.fails(['backup', source, '--item', 'i'], 'store-full', 23);
    await sandbox.done('verify', '--read-data');
    await sandbox.done('restore', first.point, '--to', sandbox.path('small'), '--verify');
    execFileSync('mount', ['-o', 'remount,size=200m', repo]);
    const second = await sandbox.json<Backup>(['backup', source, '--item', 'i']);
    await sandbox.done('restore', second.point, '--to', sandbox.path('all'), '--verify');
    await sandbox.done('gc');
    await sandbox.done('verify', '--read-data');
  } finally {
    execFileSync('umount', [repo]);
  }
});

test('a full target is told', async (t) => {
  if (!isRoot) {
    t.skip('only root mounts');
    return;
  }
  using sandbox = await Sandbox.withRepository();
  const random = seededRandom(29);
  const source = sandbox.source({ big: random.bytes(12 * MIB), 'a/small': 'x' });
  const files = await sandbox.json<Backup>(['backup', source]);
  const disk = await sandbox.json<Backup>(['backup', '--disk', `${source}/big`]);
  const target = sandbox.path('target');
  mkdirSync(target);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=5m', 'tmpfs', target]);
  try {
    await sandbox.fails(['restore', files.point, '--to', `${target}/files`], 'target-full', 23);
    execFileSync('rm', ['-rf', `${target}/files`]);
    await sandbox.fails(['restore', disk.point, '--to', `${target}/disk`], 'target-full', 23);
    assert.equal(existsSync(`${target}/disk`), false);
    assert.equal(existsSync(`${target}/disk.coffer-partial`), false);
  } finally {
    execFileSync('umount', [target]);
  }
  writeFileSync(sandbox.path('in the way'), 'x');
  const words = ['restore', files.point, '--to', sandbox.path('in the way/below')];
  await sandbox.fails(words, 'target-unwritable', 15);
});

test('caches that cannot be used and homes that are not there do not matter', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ a: '1' });
  writeFileSync(sandbox.path('no folder'), '');
  const noCache = { env: { XDG_CACHE_HOME: sandbox.path('no folder') } };
  const made = await sandbox.run(['backup', source], noCache);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stderr, /the cache folder cannot be used/);
  const homeless = {
    env: {
      HOME: undefined,
      XDG_CACHE_HOME: undefined,
      XDG_CONFIG_HOME: undefined,
      XDG_DATA_HOME: undefined,
    },
  };
  assert.equal(
    (await sandbox.run(['points'], { env: { HOME: '', XDG_CACHE_HOME: 'relative' } })).code,
    0,
  );
  assert.equal(existsSync(sandbox.path('relative')), false);
  assert.equal((await sandbox.run(['--version'], homeless)).code, 0);
});

test('a cache folder that others may write to is not used, and nothing is run from it', async () => {
  using sandbox = await Sandbox.withRepository();
  const open = sandbox.path('open');
  const foreign = sandbox.path('foreign');
  for (const folder of [join(open, 'coffer'), join(foreign, 'coffer')]) {
    mkdirSync(folder, { recursive: true });
  }
  chmodSync(open, 0o777);
  chownSync(join(foreign, 'coffer'), 65_534, 65_534);
  for (const folder of [open, foreign]) {
    const env = { XDG_CACHE_HOME: folder, NODE_COMPILE_CACHE: undefined };
    const listed = await sandbox.run(['points'], { env });
    assert.equal(listed.code, 0, listed.stderr);
    assert.match(listed.stderr, /the cache folder cannot be used/);
    assert.deepEqual(readdirSync(join(folder, 'coffer')), []);
  }
});

test('a cache is private, whatever the mask of the user says', async () => {
  using sandbox = await Sandbox.withRepository();
  const cache = sandbox.path('private cache');
  const folder = join(cache, 'coffer');
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const env = { XDG_CACHE_HOME: cache, NODE_COMPILE_CACHE: undefined };
  assert.equal((await sandbox.run(['points'], { env })).stderr, '');
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.ok(readdirSync(folder).includes('compiled'));
});

test('the repository of the first use keeps its passphrase for its owner', async () => {
  using sandbox = new Sandbox();
  const source = sandbox.source({ a: '1' });
  const bare = { env: { COFFER_REPO: undefined, COFFER_PASSPHRASE: undefined } };
  const made = await sandbox.run(['backup', source, '--item', 'i', '--quiet'], bare);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stderr, /recovery key is shown this once/);
  assert.equal(made.stdout.length, 0);
  assert.equal(statSync(sandbox.path('config/coffer/passphrase')).mode & 0o777, 0o600);
  assert.equal(statSync(sandbox.path('config/coffer')).mode & 0o777, 0o700);
  const again = await sandbox.run(['backup', source, '--item', 'i', '--json'], bare);
  assert.equal(again.stderr, '');
  const cat = await sandbox.run(['cat', 'i@latest:a'], bare);
  assert.equal(cat.stdout.toString(), '1');
});
