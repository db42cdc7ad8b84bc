// A point is used where it is: booted, mounted, and searched inside of its disks.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { BootedGuest } from '../guests/booted-guest.ts';
import { eventually } from '../guests/eventually.ts';
import { buildMiniGuest, type MiniGuest, writeBootableDisk } from '../guests/mini-guest.ts';
import { outcomeOf, Sandbox } from './testing/sandbox.ts';

describe('a point that is used in place', () => {
  let sandbox: Sandbox;
  let guest: MiniGuest;
  let disk: string;
  before(async () => {
    sandbox = await Sandbox.withRepository();
    guest = buildMiniGuest(sandbox.folder);
    disk = sandbox.path('disk.raw');
    writeBootableDisk(guest, disk, 128);
    await sandbox.done('backup', '--disk', disk, '--item', 'web');
    const files = sandbox.source({ 'a/letter': 'Dear reader', large: Buffer.alloc(3_000_000, 5) });
    await sandbox.done('backup', files, '--item', 'files');
  });
  after(() => sandbox.remove());

  /** Starts a command that runs until it is interrupted; resolves when it has told that it is ready. */
  async function running(...words: string[]): Promise<{ child: ChildProcess; said: string }> {
    const child = sandbox.start(words);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stdout?.on('data', (piece: Buffer) => {
        said += piece.toString();
        if (said.includes('Ctrl-C')) resolve();
      });
      child.once('exit', () => reject(new Error(`it ended: ${said}`)));
    });
    return { child, said };
  }

  async function interrupt(child: ChildProcess): Promise<void> {
    const outcome = outcomeOf(child);
    child.kill('SIGINT');
    assert.equal((await outcome).code, 0);
  }

  test('it is served read-only, and other programs read it', async () => {
    const socket = sandbox.path('s');
    const { child, said } = await running('serve', 'web@latest', '--socket', socket);
    const uri = /^nbd\S+/.exec(said)![0];
    const info = execFileSync('nbdinfo', ['--json', uri], { encoding: 'utf8' });
    const [found] = (JSON.parse(info) as { exports: Record<string, unknown>[] }).exports;
    assert.equal(found!['is_read_only'], true);
    execFileSync('nbdcopy', [uri, sandbox.path('copied')]);
    execFileSync('cmp', [disk, sandbox.path('copied')]);
    execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', uri, disk]);
    await interrupt(child);
    assert.ok(!existsSync(socket), 'no socket is left');
  });

  test('several are served by name', async () => {
    const socket = sandbox.path('many');
    const points = await sandbox.json<{ point: string }[]>(['points', '--item', 'web']);
    const { point } = points[0]!;
    await sandbox.done('backup', '--disk', disk, '--item', 'db');
    const { child } = await running('serve', 'web@latest', 'db@latest', '--socket', socket);
    const list = execFileSync('nbdinfo', ['--list', '--json', `nbd+unix:///?socket=${socket}`]);
    const names = (JSON.parse(list.toString()) as { exports: { 'export-name': string }[] }).exports;
    assert.equal(names.length, 2);
    assert.ok(names.some((each) => each['export-name'] === `${point}/disk`));
    await interrupt(child);
  });

  test('a guest boots from it, writes go to the overlay and the point never changes', async () => {
    const [socket, overlay] = [sandbox.path('b'), sandbox.path('overlay')];
    const words = ['serve', 'web@latest/disk', '--socket', socket, '--writable', overlay];
    for (const boots of [1, 2]) {
      const { child } = await running(...words);
      const folder = sandbox.path(`boot-${boots}`);
      mkdirSync(folder);
      {
        await using booted = await BootedGuest.boot(`nbd+unix:///?socket=${socket}`, folder);
        assert.equal((await booted.run('cat /root/boots')).trim(), String(boots));
        await booted.run('sync');
      }
      await interrupt(child);
    }
    await sandbox.done('restore', 'web@latest', '--to', sandbox.path('after'), '--verify');
    execFileSync('cmp', [disk, sandbox.path('after')]);
  });

  test('a restored disk boots', async () => {
    const restored = sandbox.path('restored.raw');
    await sandbox.done('restore', 'web@latest', '--to', restored);
    const folder = sandbox.path('boot-restored');
    mkdirSync(folder);
    await using booted = await BootedGuest.boot(restored, folder);
    assert.equal((await booted.run('cat /root/boots')).trim(), '1');
  });

  test('volumes are listed, and files in them are listed, read and restored', async () => {
    type Volume = { path: string; fileSystem: string; label?: string; sizeBytes: number };
    const volumes = await sandbox.json<Volume[]>(['ls', 'web@latest/disk']);
    const shown = volumes.map(({ path, fileSystem, label }) => ({ path, fileSystem, label }));
    assert.deepEqual(shown, [
      { path: 'p1', fileSystem: 'unknown', label: undefined },
      { path: 'p2', fileSystem: 'ext4', label: 'root' },
    ]);
    const names = await sandbox.done('ls', 'web@latest/disk/p2:etc');
    assert.match(names, /^-rwxr-xr-x .* rc$/m);
    const rc = await sandbox.done('cat', 'web@latest/disk/p2:etc/rc');
    assert.equal(rc, readFileSync(`${guest.root}/etc/rc`, 'utf8'));
    const target = sandbox.path('etc');
    await sandbox.done('restore', 'web@latest/disk/p2:etc', '--to', target, '--verify');
    const found = readdirSync(target, { recursive: true }).map(String).sort();
    assert.ok(
      found.some((name) => name.endsWith('inittab')),
      found.join(' '),
    );
  });

  test('an encrypted volume asks for its passphrase', async () => {
    const plain = sandbox.path('plain.raw');
    execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', sandbox.path('source'), plain, '16M']);
    const encrypted = sandbox.path('encrypted.raw');
    execFileSync('cp', [plain, encrypted]);
    // cryptsetup encrypts in place, with a header in front of what moves back by its size.
    writeFileSync(sandbox.path('key'), 'open sesame');
    const encrypt = [
      'reencrypt',
      '--encrypt',
      '--type',
      'luks2',
      '--batch-mode',
      '--disable-locks',
    ];
    const cost = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
    const room = ['--reduce-device-size', '32m', '--key-file', sandbox.path('key')];
    truncateSync(encrypted, 48 * 1024 * 1024);
    execFileSync('cryptsetup', [...encrypt, ...cost, ...room, encrypted]);
    await sandbox.done('backup', '--disk', encrypted, '--item', 'luks');
    writeFileSync(sandbox.path('right'), 'open sesame\n');
    writeFileSync(sandbox.path('wrong'), 'open barley\n');
    const letter = ['cat', 'luks@latest/disk/disk:a/letter'];
    const given = (file: string): string[] => ['--volume-passphrase-file', sandbox.path(file)];
    for (const more of [[], given('wrong')]) {
      const { code, stderr } = await sandbox.run([...letter, ...more]);
      assert.equal(code, 11, stderr);
    }
    assert.equal(await sandbox.done(...letter, ...given('right')), 'Dear reader');
    type Volume = { fileSystem: string };
    const list = ['ls', 'luks@latest/disk'];
    assert.equal((await sandbox.json<Volume[]>(list))[0]!.fileSystem, 'luks');
    const [inside] = await sandbox.json<Volume[]>([...list, ...given('right')]);
    assert.equal(inside!.fileSystem, 'ext4');
    const target = sandbox.path('from-luks');
    await sandbox.done('restore', 'luks@latest/disk/disk:a', '--to', target, ...given('right'));
    assert.equal(readFileSync(`${target}/letter`, 'utf8'), 'Dear reader');
  });

  test('what is not there is told', async () => {
    await sandbox.fails(['ls', 'web@latest/vdb'], 'disk-not-found', 12);
    await sandbox.fails(['ls', 'web@latest/disk/p7'], 'volume-not-found', 12);
    await sandbox.fails(['ls', 'web@latest/disk/p1'], 'file-system-unknown', 12);
    await sandbox.fails(['ls', 'web@latest/disk/p2:none'], 'path-not-found', 12);
    await sandbox.fails(['ls', 'web@latest:etc'], 'path-not-found', 12);
    await sandbox.fails(
      ['serve', 'files@latest', '--socket', sandbox.path('x')],
      'kind-mismatch',
      12,
    );
    await sandbox.fails(['serve', 'web@latest'], 'usage', 2);
    const long = sandbox.path('x'.repeat(120));
    await sandbox.fails(['serve', 'web@latest', '--socket', long], 'usage', 2);
    writeFileSync(sandbox.path('no-overlay'), 'a letter');
    const writable = ['--writable', sandbox.path('no-overlay'), '--socket', sandbox.path('y')];
    await sandbox.fails(['serve', 'web@latest', ...writable], 'target-unwritable', 15);
    await sandbox.fails(['mount', 'web@latest', sandbox.path('no-folder')], 'mount-failed', 15);
  });

  test('files, disks and volumes are mounted, until the command ends in whatever way', async () => {
    const folder = sandbox.path('mounted');
    mkdirSync(folder);
    // Not by synchronous calls: the test must not wait for itself, should a mount hang.
    const look = async (command: string): Promise<string> => {
      const { promisify } = await import('node:util');
      const { execFile } = await import('node:child_process');
      const { stdout } = await promisify(execFile)('sh', ['-c', command], { cwd: folder });
      return stdout;
    };
    const files = await running('mount', 'files@latest', folder);
    assert.equal(await look('cat a/letter; wc -c < large'), 'Dear reader3000000\n');
    await interrupt(files.child);
    assert.deepEqual(readdirSync(folder), []);

    const disks = await running('mount', 'web@latest', folder);
    await look(`cmp disk.raw ${disk}`);
    await interrupt(disks.child);

    const volume = await running('mount', 'web@latest/disk/p2', folder);
    assert.match(await look('ls -l sbin/init'), /-> \.\.\/bin\/busybox/);
    await assert.rejects(look('touch new'), /[Rr]ead-only/);
    const ended = new Promise((resolve) => volume.child.once('exit', resolve));
    volume.child.kill('SIGKILL');
    await ended;
    await eventually('its mount is gone', async () => !(await isMounted(folder)));
  });

  async function isMounted(folder: string): Promise<boolean> {
    return readFileSync('/proc/self/mounts', 'utf8').includes(folder);
  }
});
