// Images of every format go in and come out; what is wrong with one is told.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { eventually } from '../guests/eventually.ts';
import { type Backup, type Restore, Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 48 * MIB;
const FORMATS = ['raw', 'qcow2', 'vhd', 'vhdx', 'vmdk', 'vdi'] as const;

function qemuName(format: string): string {
  return format === 'vhd' ? 'vpc' : format;
}

function convert(source: string, target: string, format: string): void {
  // Without it, a VHD gets the size of the next whole cylinder.
  const options = format === 'vhd' ? ['-o', 'force_size=on'] : [];
  const to = ['-O', qemuName(format), ...options];
  execFileSync('qemu-img', ['convert', '-f', 'raw', ...to, source, target]);
}

function assertEqualImages(raw: string, image: string, format: string): void {
  execFileSync('qemu-img', ['compare', '-q', '-f', 'raw', '-F', qemuName(format), raw, image]);
}

/** Data, zeroes and holes. */
function writeDisk(path: string): void {
  writeFileSync(path, '');
  truncateSync(path, DISK_BYTES);
  const bytes = Buffer.alloc(DISK_BYTES);
  seededRandom(1)
    .bytes(3 * MIB)
    .copy(bytes, 5 * MIB + 512);
  seededRandom(2)
    .bytes(700_000)
    .copy(bytes, DISK_BYTES - 700_000);
  writeFileSync(path, bytes);
  execFileSync('fallocate', ['--dig-holes', path]);
}

describe('disk images', () => {
  let sandbox: Sandbox;
  let raw: string;
  before(async () => {
    sandbox = await Sandbox.withRepository();
    raw = sandbox.path('disk.raw');
    writeDisk(raw);
  });
  after(() => sandbox.remove());

  test('every format is backed up, and the same disk is stored once', async () => {
    for (const [index, format] of FORMATS.entries()) {
      const image = sandbox.path(`in.${format}`);
      if (format === 'raw') copyFileSync(raw, image);
      else convert(raw, image, format);
      const words = ['backup', '--disk', image, '--item', 'web'];
      const { bytesSource, chunksNew } = await sandbox.json<Backup>(words);
      assert.equal(bytesSource, DISK_BYTES, format);
      assert.equal(chunksNew === 0, index > 0, format);
    }
  });

  test('a point is exported in every format, and only when all is written', async () => {
    for (const format of FORMATS) {
      const image = sandbox.path(`out.${format}`);
      await sandbox.json<Restore>(['export', 'web@latest', '--to', image, '--verify']);
      assertEqualImages(raw, image, format);
      await sandbox.fails(['export', 'web@latest', '--to', image], 'target-not-empty', 15);
    }
    for (const format of ['vhd', 'vhdx']) {
      const image = sandbox.path(`fixed-${format}`);
      const kind = ['--format', format, '--subformat', 'fixed'];
      await sandbox.done('export', 'web@latest/disk', '--to', image, ...kind);
      assertEqualImages(raw, image, format);
    }
    assert.deepEqual(
      readdirSync(sandbox.folder).filter((name) => name.includes('partial')),
      [],
    );
  });

  test('--delta writes into an image of any format what differs', async () => {
    for (const format of ['raw', 'qcow2', 'vhd', 'vhdx'] as const) {
      const image = sandbox.path(`delta.${format}`);
      await sandbox.done('export', 'web@latest', '--to', image);
      const write = ['-f', qemuName(format), '-c', 'write -P 7 6M 64k', image];
      if (format === 'vhd' || format === 'vhdx') {
        // QEMU 7.2 writes into these, too, once they are closed.
      }
      execFileSync('qemu-io', write, { stdio: 'ignore' });
      const words = ['restore', 'web@latest', '--to', image, '--delta'];
      const { bytesWritten, bytesKept } = await sandbox.json<Restore>(words);
      assert.ok(bytesWritten > 0 && bytesWritten <= MIB, `${format}: wrote ${bytesWritten}`);
      assert.ok(bytesKept >= DISK_BYTES - MIB);
      assertEqualImages(raw, image, format);
    }
  });

  test('an export of an NBD server is backed up', async () => {
    const socket = sandbox.path('nbd');
    const server = spawn('qemu-nbd', ['-r', '-f', 'raw', '-e', '8', '-k', socket, raw]);
    try {
      await eventually('it listens', () => existsSync(socket));
      const uri = `nbd+unix:///?socket=${socket}`;
      const words = ['backup', '--disk', uri, '--item', 'nbd'];
      const { bytesSource, chunksNew } = await sandbox.json<Backup>(words);
      assert.deepEqual([bytesSource, chunksNew], [DISK_BYTES, 0]);
    } finally {
      server.kill();
    }
  });

  test('differencing images are read through their parents, which have to be what they were', async () => {
    const { createDifferencingVhdx } = await import('@coffer/disk/vhdx/testing/differencing.ts');
    const { createDifferencingVhd } = await import('@coffer/disk/vhd/testing/differencing.ts');
    const { systemClock, systemRandom } = await import('@coffer/base');
    const kinds = {
      vhd: async (path: string, parent: string) =>
        await createDifferencingVhd(path, parent, { random: systemRandom, clock: systemClock }),
      vhdx: async (path: string, parent: string) =>
        await createDifferencingVhdx(path, parent, { random: systemRandom }),
    };
    const expected = readFileSync(raw);
    const patch = seededRandom(3).bytes(5000);
    patch.copy(expected, 9 * MIB + 512);
    for (const [format, create] of Object.entries(kinds)) {
      const folder = sandbox.path(`chain-${format}`);
      mkdirSync(folder);
      const [base, child] = [`${folder}/base.${format}`, `${folder}/child.${format}`];
      await sandbox.done('export', 'web@latest', '--to', base);
      const disk = await create(child, base);
      await disk.write(9 * MIB + 512, patch);
      await disk.flush();
      await disk.close();
      await sandbox.done('backup', '--disk', child, '--item', `child-${format}`);
      const { stdout } = await sandbox.run(['cat', `child-${format}@latest`]);
      assert.ok(stdout.equals(expected), format);

      const aside = `${folder}/aside`;
      execFileSync('mv', [base, aside]);
      const backup = ['backup', '--disk', child, '--item', `child-${format}`];
      await sandbox.fails(backup, 'image-parent-missing', 14);
      convert(raw, base, format);
      await sandbox.fails(backup, 'image-parent-changed', 14);
    }
  });

  test('what cannot be read as an image says why', async () => {
    const fails = async (name: string, code: string, exit: number, ...more: string[]) =>
      await sandbox.fails(['backup', '--disk', sandbox.path(name), ...more], code, exit);
    for (const format of ['vhd', 'vhdx', 'qcow2']) {
      const bytes = readFileSync(sandbox.path(`in.${format}`));
      writeFileSync(sandbox.path(`cut.${format}`), bytes.subarray(0, 3000));
      const error = await fails(`cut.${format}`, 'image-damaged', 14, '--format', format);
      assert.match(error.message, /cut\./);
    }
    await fails('none.vhdx', 'source-not-found', 14);
    await fails('in.raw', 'usage', 2, '--format', 'floppy');
    execFileSync(
      'qemu-img',
      ['create', '-q', '-f', 'qcow2', '-b', 'disk.raw', '-F', 'raw', 'guest-made.raw'],
      { cwd: sandbox.folder },
    );
    // What looks like a child of another file is one only when the user says so.
    await fails('guest-made.raw', 'image-format-unknown', 14);
    await sandbox.done('backup', '--disk', sandbox.path('guest-made.raw'), '--format', 'qcow2');

    const writer = spawn('qemu-io', ['-f', 'raw', sandbox.path('in.raw')]);
    await new Promise((resolve) => writer.stdout.once('data', resolve));
    await fails('in.raw', 'image-busy', 14);
    writer.kill();
  });

  test('without QEMU, the package to install is told', async () => {
    const folder = sandbox.path('few-programs');
    mkdirSync(folder);
    for (const name of ['sh', 'dirname', 'node', 'readlink', 'cmp', 'setpriv', 'uname', 'env']) {
      const found = execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
      symlinkSync(found, `${folder}/${name}`);
    }
    const words = ['backup', '--disk', sandbox.path('in.qcow2')];
    const error = await sandbox.fails(words, 'tool-missing', 24, { env: { PATH: folder } });
    assert.match(error.message, /qemu-utils/);
  });

  test('a server that is not there, or no NBD server, is told', async () => {
    const nowhere = `nbd+unix:///?socket=${sandbox.path('nowhere')}`;
    await sandbox.fails(['backup', '--disk', nowhere], 'nbd-unreachable', 21);
    const other = createServer((socket) =>
      socket.end('220 mail.example.org ESMTP ready, really\r\n'),
    );
    await new Promise<void>((resolve) => other.listen(sandbox.path('mail'), resolve));
    const mail = `nbd+unix:///?socket=${sandbox.path('mail')}`;
    await sandbox.fails(['backup', '--disk', mail], 'nbd-protocol', 21);
    await new Promise((resolve) => other.close(resolve));
    await sandbox.fails(['backup', '--disk', 'nbd+unix:///x'], 'usage', 2);
  });

  test('a target that is too small is left as it is', async () => {
    const small = sandbox.path('small.raw');
    writeFileSync(small, Buffer.alloc(MIB, 1));
    const words = ['restore', 'web@latest', '--to', small, '--delta'];
    await sandbox.fails(words, 'target-too-small', 15);
    assert.ok(readFileSync(small).equals(Buffer.alloc(MIB, 1)));
  });
});
