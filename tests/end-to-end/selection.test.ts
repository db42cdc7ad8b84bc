// What is protected and what is left out, and what could not be read.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, renameSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Backup, type Restore, Sandbox } from './testing/sandbox.ts';

const isRoot = process.getuid?.() === 0;

async function pathsOf(sandbox: Sandbox, point: string): Promise<string[]> {
  const entries = await sandbox.json<{ path: string }[]>(['ls', point, '--recursive']);
  return entries.map(({ path }) => path).sort();
}

test('excludes have the syntax of gitignore', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({
    'keep.txt': '1',
    'drop.tmp': '2',
    'a/drop.tmp': '3',
    'a/important.tmp': '4',
    'build/out': '5',
    'a/build/out': '6',
    'only/top': '7',
    'a/only/top': '8',
  });
  const excludes = ['*.tmp', '!important.tmp', 'build/', '/only'];
  const words = excludes.flatMap((pattern) => ['--exclude', pattern]);
  const { point } = await sandbox.json<Backup>(['backup', source, ...words]);
  const expected = ['a', 'a/important.tmp', 'a/only', 'a/only/top', 'keep.txt'];
  assert.deepEqual(await pathsOf(sandbox, point), expected);
});

test('of a cache folder only its tag is protected', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({
    'cache/CACHEDIR.TAG': 'Signature: 8a477f597d28d172789f06886806bc55\n# a cache',
    'cache/big': 'made again',
    'other/CACHEDIR.TAG': 'no signature',
    'other/kept': 'kept',
  });
  const { point } = await sandbox.json<Backup>(['backup', source]);
  const expected = ['cache', 'cache/CACHEDIR.TAG', 'other', 'other/CACHEDIR.TAG', 'other/kept'];
  assert.deepEqual(await pathsOf(sandbox, point), expected);
});

test('other file systems are entered, unless told otherwise', async (t) => {
  if (!isRoot) {
    t.skip('only root mounts');
    return;
  }
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ file: '1' });
  const mount = join(source, 'mounted');
  mkdirSync(mount);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
  try {
    writeFileSync(join(mount, 'inside'), '2');
    const one = await sandbox.json<Backup>(['backup', source, '--one-file-system']);
    assert.deepEqual(await pathsOf(sandbox, one.point), ['file', 'mounted']);
    const all = await sandbox.json<Backup>(['backup', source]);
    assert.deepEqual(await pathsOf(sandbox, all.point), ['file', 'mounted', 'mounted/inside']);
  } finally {
    execFileSync('umount', [mount]);
  }
});

test('a link that is named is followed, links inside are kept', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ file: '1' });
  symlinkSync('file', join(source, 'inner'));
  symlinkSync(source, sandbox.path('named'));
  const { point, item } = await sandbox.json<Backup>(['backup', sandbox.path('named')]);
  assert.ok(item.endsWith('/named'), item);
  assert.deepEqual(await pathsOf(sandbox, point), ['file', 'inner']);
});

test('what cannot be read is a finding, and the rest is protected', async (t) => {
  if (!isRoot) {
    t.skip('only root can run as somebody else');
    return;
  }
  using sandbox = new Sandbox();
  const source = sandbox.source({ good: 'good', 'closed/in': 'x', secret: 'secret' });
  execFileSync('chown', ['-R', '65534:65534', sandbox.folder]);
  execFileSync('chown', ['root', join(source, 'secret'), join(source, 'closed')]);
  execFileSync('chmod', ['600', join(source, 'secret')]);
  execFileSync('chmod', ['700', join(source, 'closed')]);
  execFileSync('chmod', ['755', sandbox.folder]);
  const asNobody = async (...words: readonly string[]): Promise<[number | null, string]> =>
    await runAsNobody(sandbox, words);
  assert.equal((await asNobody('init'))[0], 0);
  const [code, printed] = await asNobody('backup', source, '--json');
  assert.equal(code, 3, printed);
  const { findings, point } = JSON.parse(printed) as Backup;
  const found = findings.map(({ code, subject }) => `${code} ${subject.name}`).sort();
  assert.deepEqual(found, ['folder-unreadable closed', 'unreadable secret']);
  assert.deepEqual(await pathsOf(sandbox, point), ['closed', 'good']);
});

/** `setpriv` of util-linux, which every Debian has. */
async function runAsNobody(
  sandbox: Sandbox,
  words: readonly string[],
): Promise<[number | null, string]> {
  const coffer = join(import.meta.dirname, '../../coffer');
  const env: Record<string, string> = {};
  for (const name of ['PATH', 'TZ']) env[name] = process.env[name] ?? '';
  const child = spawn(
    'setpriv',
    ['--reuid=65534', '--regid=65534', '--clear-groups', coffer, ...words],
    {
      cwd: sandbox.folder,
      env: {
        ...env,
        HOME: sandbox.path('home'),
        COFFER_REPO: sandbox.path('repo'),
        COFFER_PASSPHRASE: 'correct horse battery staple',
      },
    },
  );
  let printed = '';
  child.stdout.on('data', (bytes: Buffer) => (printed += bytes.toString()));
  child.stderr.on(
    'data',
    (bytes: Buffer) => (printed += process.env['COFFER_DEBUG'] ? bytes.toString() : ''),
  );
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return [code, printed];
}

test('files that change and vanish while they are read never break a run', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ steady: 'steady' });
  const log = join(source, 'log');
  writeFileSync(log, Buffer.alloc(48 * 1024 * 1024, 'line of a log\n'));
  for (let index = 0; index < 300; index++) writeFileSync(join(source, `z-${index}`), `${index}`);
  let turn = 0;
  const noise = setInterval(() => {
    turn++;
    truncateSync(log, 40 * 1024 * 1024 + (turn % 7) * 1_000_000);
    const [from, to] = turn % 2 ? ['z-7', 'y-7'] : ['y-7', 'z-7'];
    renameSync(join(source, from), join(source, to));
  }, 2);
  const outcome = await sandbox.run(['backup', source, '--item', 'busy', '--json']);
  clearInterval(noise);
  const { findings, point } = JSON.parse(outcome.stdout.toString()) as Backup;
  assert.equal(outcome.code, 3, outcome.stderr);
  assert.ok(findings.some(({ code, subject }) => code === 'changed' && subject.name === 'log'));
  for (const { code } of findings) assert.match(code, /^(changed|vanished)$/);
  const target = sandbox.path('restored');
  const restored = await sandbox.json<Restore>(['restore', point, '--to', target, '--verify']);
  assert.deepEqual([restored.verified, restored.findings.length], [true, 0]);
});
