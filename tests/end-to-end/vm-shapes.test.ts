/**
 * Machines of more than one shape: many disks, UEFI, a guest that never stops writing, and a second
 * site that a machine is restored to.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { openSync, closeSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../guests/eventually.ts';
import { LibvirtSite, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest, type MiniGuest } from '../guests/mini-guest.ts';
import { SiteGuest } from '../guests/site-guest.ts';
import { ProtectedVm } from './testing/protected-vm.ts';
import { type Backup, Sandbox } from './testing/sandbox.ts';

const OVMF_CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const OVMF_VARS = '/usr/share/OVMF/OVMF_VARS_4M.fd';
const SECTOR_BYTES = 512;

describe('shapes of virtual machines', () => {
  let sandbox: Sandbox;
  let site: LibvirtSite;
  let mini: MiniGuest;
  let images: string;
  before(async () => {
    sandbox = await Sandbox.withRecoveryKey();
    site = await LibvirtSite.start();
    mini = buildMiniGuest(sandbox.folder);
    images = site.makeFolder('images');
  });
  after(async () => {
    await site?.close();
    sandbox?.remove();
  });

  function rootDisk(name: string): string {
    const path = `${images}/${name}.qcow2`;
    writeRootDisk(mini, path, { format: 'qcow2', sizeMiB: 48 });
    return path;
  }

  function emptyDisk(name: string, size: string): string {
    const path = `${images}/${name}.qcow2`;
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, size]);
    return path;
  }

  async function restored(point: string, disk: string): Promise<string> {
    const path = sandbox.path(`restored-${disk}`);
    rmSync(path, { force: true });
    await sandbox.done('restore', `${point}/${disk}`, '--to', path);
    return path;
  }

  test('seventeen disks are captured at one moment', async () => {
    const letters = 'b c d e f g h i j k l m n o p q'.split(' ');
    const paths = [rootDisk('many'), ...letters.map((letter) => emptyDisk(`many-${letter}`, '2M'))];
    const guest = await SiteGuest.define(site, mini, {
      name: 'many',
      disks: paths.map((path) => ({ path, format: 'qcow2' })),
    });
    const vm = new ProtectedVm(sandbox, guest);
    await guest.start();
    await vm.backUp();
    // One disk after the other gets the number of the round, so a moment shows at most one step.
    const round = letters.map((letter) => `dd if=/run/n of=/dev/vd${letter} oflag=direct bs=512`);
    const line = 'n=0; while [ ! -e /run/stop ]; do n=$((n+1)); printf %512d $n > /run/n';
    const loop = `${line}; ${round.join(' && ')}; done`;
    await guest.begin(loop);
    await eventually('all disks have a number', async () => {
      return Number(await guest.run('cat /run/n 2> /dev/null || echo 0')) > 2;
    });
    const moment = await vm.backUp('--consistency', 'crash');
    await guest.run('touch /run/stop');
    const numbers: number[] = [];
    const folder = sandbox.path('many');
    await sandbox.done('restore', moment.point, '--disks', '--to', folder);
    for (const letter of letters) {
      numbers.push(Number(firstSector(`${folder}/vd${letter}.raw`).toString()));
    }
    assert.ok(numbers[0]! > 1, numbers.join(' '));
    assert.ok(numbers[0]! - numbers.at(-1)! <= 1, numbers.join(' '));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => b - a),
    );
    await vm.assertPointIsCurrent();
    await vm.assertNothingLeft();
    const disks = (await guest.disks()).map(({ target }) => target);
    assert.equal(disks.length, 17);
    const newest = (await guest.connection.checkpoints(guest.domain)).at(-1)!;
    const xml = await guest.connection.checkpointXml(guest.domain, newest.name);
    const [checkpoint] = xml.split('<domain ');
    assert.equal(checkpoint!.match(/checkpoint='bitmap'/g)?.length, 17);
    await guest.destroy();
    await guest.close();
  });

  function firstSector(path: string): Buffer {
    const sector = Buffer.alloc(SECTOR_BYTES);
    const file = openSync(path, 'r');
    readSync(file, sector, 0, SECTOR_BYTES, 0);
    closeSync(file);
    return sector;
  }

  test('a machine with UEFI comes back with its variables, and boots', async () => {
    const nvram = `${site.makeFolder('nvram')}/uefi`;
    const guest = await SiteGuest.define(site, mini, {
      name: 'uefi',
      disks: [{ path: rootDisk('uefi'), format: 'qcow2' }],
      // With less, the firmware finds no room for the kernel.
      memoryMiB: 256,
      firmware: { code: OVMF_CODE, variables: OVMF_VARS, nvram },
    });
    await guest.start();
    await guest.run('test -d /sys/firmware/efi && echo 1 > /root/mark && sync');
    await guest.destroy();
    const variables = readFileSync(nvram);
    assert.ok(!variables.equals(readFileSync(OVMF_VARS)), 'the firmware has written its own');
    // What no firmware writes anew: a mark in space that it does not use.
    variables.write('written by a test', variables.length - 64);
    writeFileSync(nvram, variables);
    await new ProtectedVm(sandbox, guest).backUp();
    const folder = site.makeFolder('uefi-copy');
    const as = ['restore', 'vm:uefi@latest', '--folder', folder, '--as', 'copy'];
    await sandbox.json([...as, '--connect', site.uri]);
    assert.deepEqual(readFileSync(`${folder}/copy-nvram`), variables);
    const copy = await SiteGuest.find(site, 'copy');
    await copy.start();
    assert.equal(
      await copy.run('ls -d /sys/firmware/efi; cat /root/mark'),
      '/sys/firmware/efi\n1\n',
    );
    await copy.destroy();
    await copy.close();
    await guest.close();
  });

  test('a machine with a TPM comes back with what is in it', async () => {
    const guest = await SiteGuest.define(site, mini, {
      name: 'tpm',
      disks: [{ path: rootDisk('tpm'), format: 'qcow2' }],
      tpm: true,
    });
    await guest.start();
    await guest.destroy();
    const state = (uuid: string): Buffer =>
      readFileSync(`${site.folder}/home/.config/libvirt/qemu/swtpm/${uuid}/tpm2/tpm2-00.permall`);
    const original = state(guest.domain.uuid);
    await new ProtectedVm(sandbox, guest).backUp();
    const as = ['--folder', site.makeFolder('tpm-copy'), '--as', 'sealed'];
    const words = ['restore', 'vm:tpm@latest', ...as, '--connect', site.uri];
    const { uuid } = await sandbox.json<{ uuid: string }>(words);
    assert.ok(state(uuid).equals(original));
    const copy = await SiteGuest.find(site, 'sealed');
    await copy.start();
    await copy.destroy();
    await copy.close();
    await guest.close();
  });

  test('what a guest has swapped out is left out, unless it is asked for', async () => {
    const [start, sizeBytes] = [1024 * 1024, 32 * 1024 * 1024];
    const area = sandbox.path('swap.area');
    writeFileSync(area, randomBytes(sizeBytes));
    execFileSync('/sbin/mkswap', ['-q', area]);
    const raw = sandbox.path('swap.raw');
    writeFileSync(raw, Buffer.concat([Buffer.alloc(start), readFileSync(area)]));
    execFileSync('/sbin/sfdisk', ['-q', raw], { input: 'label: dos\nstart=2048, type=82\n' });
    const swap = `${images}/swap.qcow2`;
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, swap]);
    const guest = await SiteGuest.define(site, mini, {
      name: 'swapping',
      disks: [rootDisk('swapping'), swap].map((path) => ({ path, format: 'qcow2' })),
    });
    const vm = new ProtectedVm(sandbox, guest);
    type WithSwap = Backup & { swap: unknown; disks: { mode: string }[] };
    const first = (await vm.backUp()) as WithSwap;
    const bytes = sizeBytes - 4096;
    assert.deepEqual(first.swap, [{ disk: 'vdb', area: 'p1', bytes }]);
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', `write -P 5 2M 20M`, swap], { stdio: 'ignore' });
    const second = (await vm.backUp()) as WithSwap;
    assert.deepEqual(
      second.disks.map(({ mode }) => mode),
      ['changes', 'changes'],
    );
    // The kernel of the guest, which is always read, is smaller than what was written.
    assert.ok(second.bytesRead < 20 * 1024 * 1024, `${second.bytesRead} bytes were read`);
    const expected = readFileSync(raw);
    expected.fill(0, start + 4096);
    assert.ok(readFileSync(await restored(second.point, 'vdb')).equals(expected));
    const asked = (await vm.backUp('--include-swap', '--exclude-disk', 'vda')) as WithSwap;
    assert.deepEqual(
      asked.disks.map(({ mode }) => mode),
      ['changes'],
    );
    await vm.assertPointHas(asked.point, [{ target: 'vdb', path: swap, format: 'qcow2' }]);
    await guest.close();
  });

  test('a guest that writes all the time is captured in one piece', async () => {
    const data = emptyDisk('busy-data', '128M');
    const raw = sandbox.path('data.raw');
    execFileSync('/sbin/mke2fs', ['-q', '-F', '-t', 'ext4', raw, '128M']);
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, data]);
    rmSync(raw);
    const guest = await SiteGuest.define(site, mini, {
      name: 'busy',
      disks: [rootDisk('busy'), data].map((path) => ({ path, format: 'qcow2' })),
    });
    const vm = new ProtectedVm(sandbox, guest);
    await guest.start();
    await guest.begin(WRITING);
    const written = async (): Promise<number> =>
      Number(await guest.run('cat /run/written || echo 0'));
    for (const consistency of ['file', 'crash', 'file']) {
      const first = await written();
      const { point } = await vm.backUp('--consistency', consistency);
      assert.ok((await written()) > first, 'the guest writes meanwhile');
      assertFileSystem(await restored(point, 'vdb'), consistency, first);
    }
    await guest.run('touch /run/stop');
    await vm.assertNothingLeft();
    await guest.destroy();
    await guest.close();
  });

  /** After a freeze there is nothing to repair; otherwise at most the journal is replayed. */
  function assertFileSystem(disk: string, consistency: string, fileCountMin: number): void {
    const environment = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` };
    const e2fsck = (...words: string[]): { status: number | null; said: string } => {
      const { status, stdout, stderr } = spawnSync('e2fsck', [...words, disk], {
        env: environment,
        encoding: 'utf8',
      });
      return { status, said: stdout + stderr };
    };
    if (consistency === 'crash') e2fsck('-y', '-E', 'journal_only');
    const { status, said } = e2fsck('-fn');
    assert.equal(status, 0, said);
    assert.doesNotMatch(said, /journal/i);
    const files = sandbox.path('files');
    rmSync(files, { recursive: true, force: true });
    execFileSync('mkdir', [files]);
    execFileSync('debugfs', ['-R', `rdump / ${files}`, disk], {
      env: environment,
      stdio: 'ignore',
    });
    const sums = readFileSync(`${files}/sums`, 'utf8').trim().split('\n');
    assert.ok(sums.length >= Math.min(fileCountMin, 15), `${sums.length} of ${fileCountMin} files`);
    execFileSync('sha256sum', ['--quiet', '-c', 'sums'], { cwd: files });
  }

  test('a machine is restored to another site while the original runs on', async () => {
    const guest = await SiteGuest.define(site, mini, {
      name: 'twin',
      disks: [
        { path: rootDisk('twin'), format: 'qcow2' },
        { path: emptyDisk('twin-data', '16M'), format: 'qcow2' },
      ],
    });
    await guest.start();
    const mark = randomBytes(8).toString('hex');
    await guest.run(`echo ${mark} > /root/mark; echo ${mark} > /dev/vdb; sync`);
    await new ProtectedVm(sandbox, guest).backUp('--consistency', 'file');
    const other = await LibvirtSite.start();
    try {
      const to = ['--folder', other.makeFolder('restored'), '--connect', other.uri, '--start'];
      await sandbox.json(['restore', 'vm:twin@latest', '--as', 'twin', ...to]);
      const twin = await SiteGuest.find(other, 'twin');
      await twin.waitForAgent();
      assert.equal(await twin.run('cat /root/mark; head -c 16 /dev/vdb'), `${mark}\n${mark}`);
      await twin.run('echo other > /root/mark; sync');
      assert.equal(
        await guest.run('cat /root/mark'),
        `${mark}\n`,
        'the original has its own disks',
      );
      await new ProtectedVm(sandbox, twin).backUp('--item', 'twin of the other site');
      await twin.close();
    } finally {
      await other.close();
    }
    await guest.destroy();
    await guest.close();
  });
});

/** A file is listed with its checksum only when it is on the disk. The newest sixteen are kept. */
const WRITING = `
n=0; cd /data/vdb
while [ ! -e /run/stop ]; do
  n=$((n+1)); f=f$((n%16)); grep -v " $f\\$" sums > /run/sums; cp /run/sums sums.new
  sync; mv sums.new sums; sync
  dd if=/dev/urandom of=$f bs=16k count=$((n%7+1)); sync
  sha256sum $f >> sums; sync
  echo $n > /run/n; mv /run/n /run/written
done`;
