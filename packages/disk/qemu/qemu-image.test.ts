import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ErrorCode, isCofferError, seededRandom, systemClock } from '@coffer/base';
import { writableDiskContract } from '../testing/contract.ts';
import { refuseBusy } from './lock.ts';
import { createQemuImage, openQemuImage, type QemuFormat } from './qemu-image.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'coffer-qemu-test-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);
const qemuImg = (...args: string[]): void => void execFileSync('qemu-img', args, { cwd: folder });

const reading = {
  writable: false,
  mayReferToOthers: true,
  clock: systemClock,
  temporaryFolder: tmpdir(),
} as const;
const fails =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    isCofferError(error, code);

let made = 0;
for (const format of ['qcow2', 'vmdk', 'vdi'] as const) {
  writableDiskContract(
    format,
    async (sizeBytes) => {
      const name = path(`${made++}.${format}`);
      if (format === 'qcow2') qemuImg('create', '-q', '-f', format, name, String(sizeBytes));
      else await createQemuImage(name, sizeBytes, format);
      return {
        disk: await openQemuImage(name, { ...reading, format, writable: true }),
        reopen: () => openQemuImage(name, { ...reading, format }),
      };
    },
    6 * MIB,
  );
}

test('a chain of qcow2 is read through', async () => {
  const bytes = seededRandom(1).bytes(4 * MIB);
  writeFileSync(path('base.raw'), bytes);
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', 'middle.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'middle.qcow2', '-F', 'qcow2', 'top.qcow2');
  const disk = await openQemuImage(path('top.qcow2'), { ...reading, format: 'qcow2' });
  const read = Buffer.alloc(bytes.length);
  await disk.read(0, read);
  assert.ok(read.equals(bytes));
  await disk.close();
});

test('what cannot be opened says why, and leaves no process and no folder', async () => {
  const before = leftovers();
  const open = async (name: string, format: QemuFormat = 'qcow2', mayReferToOthers = true) =>
    await openQemuImage(path(name), { ...reading, format, mayReferToOthers });
  writeFileSync(path('parent.raw'), Buffer.alloc(MIB));
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'parent.raw', '-F', 'raw', 'orphan.qcow2');
  await assert.rejects(open('orphan.qcow2', 'qcow2', false), fails('image-format-unknown'));
  rmSync(path('parent.raw'));
  await assert.rejects(open('orphan.qcow2'), fails('image-parent-missing'));

  qemuImg('create', '-q', '-f', 'qcow2', 'one.qcow2', '1M');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'one.qcow2', '-F', 'qcow2', 'two.qcow2');
  qemuImg('rebase', '-q', '-u', '-f', 'qcow2', '-b', 'two.qcow2', '-F', 'qcow2', 'one.qcow2');
  await assert.rejects(open('two.qcow2'), fails('image-chain-cyclic'));

  const secret = ['--object', 'secret,id=s,data=abcdefgh', '-o', 'encrypt.format=aes'];
  qemuImg(
    'create',
    '-q',
    '-f',
    'qcow2',
    ...secret,
    '-o',
    'encrypt.key-secret=s',
    'locked.qcow2',
    '1M',
  );
  await assert.rejects(open('locked.qcow2'), fails('image-encrypted'));

  qemuImg('create', '-q', '-f', 'qcow2', 'whole.qcow2', '64M');
  writeFileSync(path('cut.qcow2'), readFileSync(path('whole.qcow2')).subarray(0, 50));
  await assert.rejects(open('cut.qcow2'), fails('image-damaged'));
  await assert.rejects(open('whole.qcow2', 'vmdk'), fails('image-damaged'));
  await assert.rejects(open('none.qcow2'), fails('source-not-found'));
  assert.deepEqual(leftovers(), before);
});

test('an image that was cut is damaged, though QEMU would read zeroes', async () => {
  writeFileSync(path('whole.raw'), seededRandom(2).bytes(3 * MIB));
  for (const format of ['qcow2', 'vmdk', 'vdi'] as const) {
    qemuImg('convert', '-f', 'raw', '-O', format, 'whole.raw', `whole.${format}`);
    const whole = readFileSync(path(`whole.${format}`));
    for (const size of [3000, MIB, whole.length - 100_000]) {
      writeFileSync(path(`cut.${format}`), whole.subarray(0, size));
      const opening = openQemuImage(path(`cut.${format}`), { ...reading, format });
      await assert.rejects(opening, fails('image-damaged'), `${format} of ${size} bytes`);
    }
  }
});

test('an image that somebody writes to is busy', async () => {
  qemuImg('create', '-q', '-f', 'raw', 'used.raw', '1M');
  refuseBusy(path('used.raw'));
  const writer = spawn('qemu-io', ['-f', 'raw', path('used.raw')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    await new Promise<void>((resolve) => writer.stdout.once('data', () => resolve()));
    assert.throws(() => refuseBusy(path('used.raw')), fails('image-busy'));
  } finally {
    writer.kill();
  }
});

test('a process that is killed leaves no qemu-nbd behind', async () => {
  qemuImg('create', '-q', '-f', 'qcow2', 'held.qcow2', '1M');
  const script = `
    import { systemClock } from '@coffer/base';
    import { openQemuImage } from './qemu-image.ts';
    const options = {
      format: 'qcow2',
      writable: false,
      mayReferToOthers: true,
      clock: systemClock,
      temporaryFolder: ${JSON.stringify(tmpdir())},
    };
    const disk = await openQemuImage(${JSON.stringify(path('held.qcow2'))}, options);
    process.stdout.write('open');
    setInterval(() => disk.sizeBytes, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: import.meta.dirname,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  assert.equal(servers('held.qcow2').length, 1);
  await killed(child);
  while (servers('held.qcow2').length > 0) await systemClock.sleep(20);
});

test('what serves an image, which may be hostile, knows no secret of ours', async () => {
  const secrets = { COFFER_PASSPHRASE: 'a passphrase', AWS_SECRET_ACCESS_KEY: 'a key' };
  Object.assign(process.env, secrets);
  try {
    qemuImg('create', '-q', '-f', 'qcow2', 'secret.qcow2', String(MIB));
    const disk = await openQemuImage(path('secret.qcow2'), { ...reading, format: 'qcow2' });
    const [server] = servers('secret.qcow2');
    const environment = readFileSync(`/proc/${server}/environ`, 'utf8');
    await disk.close();
    assert.match(environment, /(^|\0)PATH=/);
    for (const secret of Object.values(secrets)) assert.ok(!environment.includes(secret));
  } finally {
    for (const name of Object.keys(secrets)) delete process.env[name];
  }
});

async function killed(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

/** Processes that serve an image of that name. */
function servers(name: string): string[] {
  return readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8');
      return command.startsWith('qemu-nbd') && command.includes(name);
    } catch {
      return false;
    }
  });
}

function leftovers(): string[] {
  return readdirSync(tmpdir()).filter((name) => /^coffer-qemu-(?!test)/.test(name));
}
