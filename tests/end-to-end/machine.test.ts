// help, version, completion, doctor, benchmark.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { Sandbox } from './testing/sandbox.ts';

const COMMANDS = (
  'init backup restore vms check test instant undo accept export serve mount items points ls cat find diff remove undelete hold release key gc ' +
  'verify repair ' +
  'copy benchmark doctor completion'
).split(' ');

test('every command has help with examples', async () => {
  using sandbox = new Sandbox();
  const help = await sandbox.done('help');
  for (const name of COMMANDS) {
    assert.match(help, new RegExp(`^ {2}${name} `, 'm'));
    const [one, two] = [await sandbox.done('help', name), await sandbox.done(name, '--help')];
    assert.equal(one, two);
    assert.match(one, new RegExp(`Examples:\n.*coffer ${name}`));
  }
  assert.match(await sandbox.done('key', 'add', '--help'), /Examples:/);
  const { version } = JSON.parse(
    readFileSync(`${import.meta.dirname}/../../apps/cli/package.json`, 'utf8'),
  ) as { version: string };
  assert.equal(await sandbox.done('--version'), `${version}\n`);
});

test('bash completes commands, options and values', async () => {
  using sandbox = new Sandbox();
  writeFileSync(sandbox.path('completion'), await sandbox.done('completion', 'bash'));
  const complete = (...words: string[]): string[] => {
    const script =
      '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _coffer; printf "%s\\n" "${COMPREPLY[@]}"';
    const printed = execFileSync('bash', [
      '-c',
      script,
      sandbox.path('completion'),
      'coffer',
      ...words,
    ]);
    return printed
      .toString()
      .split('\n')
      .filter((word) => word !== '');
  };
  assert.deepEqual(complete('re').sort(), ['release', 'remove', 'repair', 'restore']);
  assert.deepEqual(complete('').sort(), [...COMMANDS, 'help'].sort());
  assert.deepEqual(complete('key', 'r').sort(), ['recovery', 'remove']);
  assert.deepEqual(complete('--repo', 'gc', 'key', 'l'), ['list']);
  assert.deepEqual(complete('restore', 'x', '--on-conflict', 'k'), ['keep-both']);
  assert.deepEqual(complete('backup', '--one'), ['--one-file-system']);
  assert.deepEqual(complete('completion', ''), ['bash', 'zsh', 'fish']);
  assert.deepEqual(complete('backup', '--exclude', ''), [], 'files are left to bash');
  assert.ok(complete('key', 'add', '--').includes('--new-passphrase-file'));
  for (const shell of ['zsh', 'fish']) {
    assert.match(await sandbox.done('completion', shell), /one-file-system/);
  }
});

interface Diagnosis {
  readonly status: string;
  readonly checks: readonly { check: string; status: string; message: string; help?: string }[];
}

test('the doctor tells what is wrong and what to do', async () => {
  using sandbox = await Sandbox.withRepository();
  await sandbox.done('backup', sandbox.source({ a: '1' }));
  const statusOf = ({ checks }: Diagnosis, check: string): string | undefined =>
    checks.find((each) => each.check === check)?.status;
  const well = await sandbox.run(['doctor', '--json']);
  const healthy = JSON.parse(well.stdout.toString()) as Diagnosis;
  const names = [
    'node',
    'cache folder',
    'repository',
    'config',
    'key slots',
    'passphrase',
    'index cache',
    'clock',
    'sessions',
  ];
  for (const name of names) assert.equal(statusOf(healthy, name), 'ok', name);
  const wrong = { env: { COFFER_PASSPHRASE: 'not the passphrase at all' } };
  const ill = await sandbox.json<Diagnosis>(['doctor'], 1, wrong);
  assert.deepEqual([ill.status, statusOf(ill, 'passphrase')], ['failure', 'failure']);
  assert.ok(ill.checks.every(({ status, help }) => status === 'ok' || help));
  const lost = await sandbox.json<Diagnosis>(['doctor', '--repo', sandbox.path('nothing')], 1);
  assert.equal(statusOf(lost, 'repository'), 'failure');
  mkdirSync(sandbox.path('config/coffer'), { recursive: true });
  writeFileSync(sandbox.path('config/coffer/passphrase'), 'x');
  chmodSync(sandbox.path('config/coffer/passphrase'), 0o644);
  const open = await sandbox.json<Diagnosis>(['doctor'], 3);
  assert.equal(statusOf(open, 'passphrase file'), 'warning');
  assert.deepEqual(readdirSync(sandbox.path('repo/probes')), [], 'nothing is left in the store');
});

test('the doctor tells of native code that does not load', async () => {
  using sandbox = await Sandbox.withRepository();
  for (const [module, check] of [
    ['@napi-rs/blake-hash', 'BLAKE3'],
    ['lmdb', 'index cache'],
    ['koffi', 'system calls'],
  ]) {
    const { status, checks } = await sandbox.json<Diagnosis>(['doctor'], 1, {
      env: { NODE_OPTIONS: `--import=${hookThatBreaks(module!)}` },
    });
    assert.equal(status, 'failure');
    const broken = checks.find((each) => each.check === `native code: ${check}`);
    assert.match(`${broken?.status}: ${broken?.message}`, /^failure: .*no such module/);
  }
});

function hookThatBreaks(module: string): string {
  const resolve = `(specifier, context, next) => {
    if (specifier === '${module}') throw new Error('no such module');
    return next(specifier, context);
  }`;
  const hook = `import { registerHooks } from 'node:module'; registerHooks({ resolve: ${resolve} });`;
  return `data:text/javascript,${encodeURIComponent(hook)}`;
}

test('the benchmark measures and leaves nothing', async () => {
  using sandbox = await Sandbox.withRepository();
  interface Benchmark {
    readonly bytesPerSecond: Record<string, number>;
    readonly store: { putBytesPerSecond: number; getBytesPerSecond: number } | null;
  }
  const measured = await sandbox.json<Benchmark>(['benchmark']);
  const parts = ['blake3', 'zstd1', 'aes256gcm', 'cutting'];
  for (const part of parts) assert.ok(measured.bytesPerSecond[part]! > 0, part);
  assert.ok(measured.store!.putBytesPerSecond > 0 && measured.store!.getBytesPerSecond > 0);
  assert.deepEqual(readdirSync(sandbox.path('repo/probes')), []);
  const none = { env: { COFFER_REPO: undefined } };
  assert.equal((await sandbox.json<Benchmark>(['benchmark'], 0, none)).store, null);
});
