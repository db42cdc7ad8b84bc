// What is stopped in the middle leaves only garbage; who stops reading is no failure.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Backup, outcomeOf, PASSPHRASE, Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;
const COFFER = join(import.meta.dirname, '../../coffer');

function noise(path: string, mebibytes: number): void {
  const fd = openSync(path, 'w');
  const bytes = Buffer.alloc(16 * MIB);
  for (let done = 0; done < mebibytes; done += 16) writeSync(fd, randomFillSync(bytes));
  closeSync(fd);
}

/** Interrupts a command as soon as `isUnderWay`; returns its outcome. */
async function interrupted(sandbox: Sandbox, words: string[], isUnderWay: () => boolean) {
  const child = sandbox.start(words);
  const outcome = outcomeOf(child);
  while (child.exitCode === null && !isUnderWay()) await sleep(2);
  child.kill('SIGINT');
  return await outcome;
}

function packsOf(sandbox: Sandbox): number {
  const folder = sandbox.path('repo/packs');
  if (!existsSync(folder)) return 0;
  const names = readdirSync(folder, { recursive: true, withFileTypes: true });
  return names.filter((entry) => entry.isFile()).length;
}

test('an interrupted backup and restore break nothing', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ small: 'small' });
  const image = join(source, 'large');
  noise(image, 96);
  // Slowly, so that it is in the middle of it for seconds.
  const slowly = ['--limit-rate', '8M'];
  const stopped = await interrupted(
    sandbox,
    ['backup', source, '--json', ...slowly],
    () => packsOf(sandbox) > 0,
  );
  assert.equal(stopped.code, 130, stopped.stderr);
  const { error } = JSON.parse(stopped.stdout.toString()) as { error: { code: string } };
  assert.equal(error.code, 'interrupted');
  assert.deepEqual(await sandbox.json(['points']), []);
  await sandbox.done('verify', '--read-data');
  assert.equal((await sandbox.json<{ outcome: string }>(['gc'])).outcome, 'done');
  assert.equal(packsOf(sandbox), 0, 'gc removes what it left');
  const { point } = await sandbox.json<Backup>(['backup', '--disk', image, '--item', 'd']);
  const target = sandbox.path('restored');
  const partial = `${target}.coffer-partial`;
  const begun = (): boolean => existsSync(partial) && statSync(partial).blocks > 0;
  const words = ['restore', point, '--to', target];
  const half = await interrupted(sandbox, [...words, ...slowly], begun);
  assert.equal(half.code, 130, half.stderr);
  assert.deepEqual([existsSync(target), existsSync(partial)], [false, false]);
  await sandbox.done(...words);
  execFileSync('cmp', [image, target]);
});

test('a reader that has seen enough is no failure', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source();
  noise(join(source, 'large'), 32);
  for (let index = 0; index < 3000; index++) writeFileSync(join(source, `name-${index}`), '');
  await sandbox.done('backup', source, '--item', 'i');
  for (const words of [
    ['cat', 'i@latest:large'],
    ['ls', 'i@latest'],
    ['find', '*'],
  ]) {
    const child = sandbox.start(words);
    child.stdout!.once('data', () => child.stdout!.destroy());
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.equal(code, 0, words.join(' '));
  }
  const full = await shell(sandbox, `"$COFFER" cat i@latest:large > /dev/full`);
  assert.equal(full.code, 23, full.stderr);
});

async function shell(sandbox: Sandbox, command: string) {
  const env = {
    PATH: process.env['PATH'],
    COFFER,
    HOME: sandbox.path('home'),
    COFFER_REPO: sandbox.path('repo'),
    COFFER_PASSPHRASE: PASSPHRASE,
  };
  return await outcomeOf(spawn('sh', ['-c', command], { env, cwd: sandbox.folder }));
}

test('on a terminal the passphrase is asked for, and not shown', async () => {
  using sandbox = await Sandbox.withRepository();
  await sandbox.done('backup', sandbox.source({ a: 'content of a' }), '--item', 'i');
  const { code, typed } = await onTerminal(sandbox, 'cat i@latest:a', `${PASSPHRASE}\n`);
  assert.equal(code, 0, typed);
  assert.match(typed, /Passphrase or recovery key of .*content of a/s);
  assert.ok(!typed.includes(PASSPHRASE), 'it is not shown');
  assert.equal((await onTerminal(sandbox, 'cat i@latest:a', 'wrong wrong wrong\n')).code, 11);
  assert.equal((await onTerminal(sandbox, 'cat i@latest:a', '\u0003')).code, 130);
  assert.equal((await onTerminal(sandbox, 'cat i@latest:a', '\u0004')).code, 11);
});

/** `script` of util-linux gives a command a terminal. */
async function onTerminal(sandbox: Sandbox, words: string, keys: string) {
  const env = {
    PATH: process.env['PATH'],
    HOME: sandbox.path('home'),
    COFFER_REPO: sandbox.path('repo'),
  };
  const log = sandbox.path('typescript');
  const child = spawn('script', ['-qec', `${COFFER} ${words}`, log], { env, cwd: sandbox.folder });
  const outcome = outcomeOf(child);
  let shown = '';
  child.stdout.on('data', (bytes: Buffer) => {
    if (!shown.includes('Passphrase') && `${shown}${bytes.toString()}`.includes('Passphrase')) {
      child.stdin.write(keys);
    }
    shown += bytes.toString();
  });
  const { code } = await outcome;
  return { code, typed: readFileSync(log, 'utf8') };
}

test('Ctrl-C ends what waits for a store that never answers', async () => {
  using sandbox = await Sandbox.withRepository();
  const asked: string[] = [];
  // It would be tried again for minutes.
  const silent = createServer((request) => void asked.push(request.url ?? ''));
  await once(silent.listen(0, '127.0.0.1'), 'listening');
  const { port } = silent.address() as AddressInfo;
  const env = {
    AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
    AWS_ACCESS_KEY_ID: 'a',
    AWS_SECRET_ACCESS_KEY: 'b',
    AWS_REGION: 'us-east-1',
  };
  const source = sandbox.source({ a: 'content' });
  const repo = ['--repo', 's3://bucket/x'];
  const commands = [['points'], ['gc'], ['verify'], ['doctor'], ['init'], ['backup', source]];
  try {
    for (const words of commands) {
      const before = asked.length;
      const child = sandbox.start([...words, ...repo], { env });
      const outcome = outcomeOf(child);
      await eventually(() => asked.length > before);
      child.kill('SIGINT');
      assert.equal((await outcome).code, 130, words.join(' '));
    }
  } finally {
    silent.closeAllConnections();
    silent.close();
  }
});

async function eventually(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await sleep(10);
}
