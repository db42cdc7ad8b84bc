// Live machines on libvirt: captured while they run, by what changed, and restored to boot.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { captureVms } from '@coffer/workloads/libvirt/capture/capture.ts';
import { BootedGuest } from '../guests/booted-guest.ts';
import { eventually } from '../guests/eventually.ts';
import { LibvirtSite, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest, type MiniGuest, writeBootableDisk } from '../guests/mini-guest.ts';
import { SiteGuest } from '../guests/site-guest.ts';
import { ProtectedVm } from './testing/protected-vm.ts';
import { Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;

describe('live virtual machines', () => {
  let sandbox: Sandbox;
  let site: LibvirtSite;
  let mini: MiniGuest;
  let guest: SiteGuest;
  let vm: ProtectedVm;
  before(async () => {
    sandbox = await Sandbox.withRecoveryKey();
    site = await LibvirtSite.start();
    mini = buildMiniGuest(sandbox.folder);
    const images = site.makeFolder('images');
    const raw = sandbox.path('boot.raw');
    writeBootableDisk(mini, raw, 96);
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, `${images}/vda.qcow2`]);
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', `${images}/vdb.qcow2`, '64M']);
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', `${images}/vdc.raw`, '16M']);
    guest = await SiteGuest.define(site, mini, {
      name: 'web01',
      boot: 'disk',
      disks: [
        { path: `${images}/vda.qcow2`, format: 'qcow2' },
        { path: `${images}/vdb.qcow2`, format: 'qcow2' },
        { path: `${images}/vdc.raw`, format: 'raw' },
      ],
    });
    vm = new ProtectedVm(sandbox, guest);
    await guest.start();
  });
  after(async () => {
    await guest.close();
    await site.close();
    sandbox.remove();
  });

  test('machines are listed, with what a backup of them would get', async () => {
    type Vm = { name: string; state: string; consistency: string; disks: { protection: string }[] };
    const [found] = await sandbox.json<Vm[]>(['vms', '--connect', site.uri]);
    assert.deepEqual(
      [found!.name, found!.state, found!.consistency, found!.disks.map((disk) => disk.protection)],
      ['web01', 'running', 'file-system', ['incremental', 'incremental', 'full-compare']],
    );
  });

  test('the first point holds all disks, and the machine goes on', async () => {
    const { kind, bytesSource, findings } = await vm.backUp('--consistency', 'file');
    assert.equal(kind, 'vm');
    assert.equal(bytesSource, (96 + 64 + 16) * MIB);
    assert.deepEqual(findings, []);
    await vm.assertNothingLeft();
    await vm.assertPointIsCurrent();
  });

  test('later points read what changed only, of disks that libvirt tracks', async () => {
    await guest.run('dd if=/dev/urandom of=/root/new bs=64k count=16; sync');
    await guest.run('dd if=/dev/urandom of=/dev/vdb bs=64k count=4 seek=100; sync');
    await guest.run('dd if=/dev/urandom of=/dev/vdc bs=64k count=4 seek=10; sync');
    const { bytesRead, bytesStored } = await vm.backUp('--consistency', 'file');
    // Of the raw disk all that is allocated, of the others what changed.
    assert.ok(bytesRead < 30 * MIB, `read ${bytesRead}`);
    assert.ok(bytesStored > MIB && bytesStored < 12 * MIB, `stored ${bytesStored}`);
    await vm.assertPointIsCurrent();
    await vm.assertNothingLeft();
    const names = (await guest.connection.checkpoints(guest.domain)).map(({ name }) => name);
    assert.ok(names.length <= 2, names.join(' '));
  });

  test('a disk whose tracking died with QEMU is read whole, and then tracked again', async () => {
    await guest.run('sync');
    await guest.killQemu();
    await guest.start();
    const whole = await vm.backUp();
    assert.ok(whole.bytesRead > 20 * MIB, `read ${whole.bytesRead}`);
    await vm.assertPointIsCurrent();
    await guest.run('echo 1 > /root/again; sync');
    const { bytesRead } = await vm.backUp();
    assert.ok(bytesRead < whole.bytesRead / 2, `read ${bytesRead}`);
    await vm.assertPointIsCurrent();
  });

  test('a machine that is saved keeps its memory', async () => {
    const bootId = await guest.run('cat /proc/sys/kernel/random/boot_id');
    await guest.virsh('managedsave', 'web01');
    await guest.waitUntilOff();
    const connect = ['--connect', site.uri];
    await sandbox.fails(['backup', 'vm:web01', ...connect], 'vm-saved', 14);
    const restore = ['restore', 'vm:web01@latest', '--original', '--yes', ...connect];
    await sandbox.fails(restore, 'vm-saved', 14);
    const [found] = await sandbox.json<{ name: string; reason: string }[]>(['vms', ...connect]);
    assert.deepEqual([found?.name, found?.reason], ['web01', 'it is saved with its memory']);
    await guest.start();
    assert.equal(await guest.run('cat /proc/sys/kernel/random/boot_id'), bootId);
  });

  test('a machine that is off is captured without running', async () => {
    await guest.run('sync');
    await guest.destroy();
    const { kind, point } = await vm.backUp();
    assert.equal(kind, 'vm');
    assert.equal(await guest.state(), 'shutoff');
    assert.deepEqual(readdirSync(vm.scratch), []);
    await vm.assertPointHas(point, await guest.disks());
  });

  test('a machine is restored beside the original, and starts', async () => {
    const folder = site.makeFolder('restored');
    const original = await guest.connection.xml(guest.domain, { inactive: true });
    const as = ['restore', 'vm:web01@latest', '--folder', folder, '--connect', site.uri, '--as'];
    await sandbox.fails([...as, 'web01'], 'vm-name-taken', 15);
    // Its console led to a file of the original: a finding.
    const { uuid } = await sandbox.json<{ uuid: string }>([...as, 'copy', '--start']);
    assert.notEqual(uuid, guest.domain.uuid);
    const copy = await SiteGuest.find(site, 'copy');
    await copy.waitForAgent();
    const xml = await copy.connection.xml(copy.domain, { inactive: true });
    for (const [, path] of original.matchAll(/source file='([^']+)'/g)) {
      assert.ok(!xml.includes(path!), path);
    }
    await copy.destroy();
    await copy.connection.undefine(copy.domain);
    await copy.close();
  });

  test('a restored machine boots', async () => {
    const folder = sandbox.path('booted');
    mkdirSync(folder);
    const disk = sandbox.path('booted.raw');
    await sandbox.done('restore', 'vm:web01@latest/vda', '--to', disk);
    await using booted = await BootedGuest.boot(disk, folder);
    assert.equal((await booted.run('cat /root/again')).trim(), '1');
  });

  test('a machine without an agent is captured as it is, and refused when more is demanded', async () => {
    const root = `${site.folder}/images/bare.qcow2`;
    writeRootDisk(mini, root, { format: 'qcow2', sizeMiB: 32 });
    const disks = [{ path: root, format: 'qcow2' }] as const;
    const bare = await SiteGuest.define(site, mini, { name: 'bare', disks, agent: false });
    const { connection } = bare;
    const running = await connection.create(bare.domain);
    const protectedBare = new ProtectedVm(sandbox, bare);
    const demanding = protectedBare.words('--consistency', 'file');
    await sandbox.fails(demanding, 'consistency-not-reached', 14);
    assert.deepEqual(await connection.checkpoints(running), [], 'a failed run leaves none');
    await protectedBare.backUp();
    await bare.destroy();
    assert.deepEqual(readdirSync(vm.scratch), []);
    await bare.close();
  });

  test('a backup that is killed leaves nothing after the next one', async () => {
    await guest.start();
    const held = await vm.holdBackup();
    await held.kill();
    await vm.backUp('--consistency', 'file');
    await vm.assertNothingLeft();
    await vm.assertPointIsCurrent();
  });

  test('of two backups at once, one is refused and the other is whole', async () => {
    const both = await Promise.all([1, 2].map(() => sandbox.run(vm.words())));
    const codes = both.map(({ code }) => code ?? -1).sort((a, b) => a - b);
    assert.ok(codes[0] === 0 && (codes[1] === 0 || codes[1] === 14), codes.join(' '));
    await vm.assertNothingLeft();
    await vm.assertPointIsCurrent();
  });

  test('a guest goes on when the scratch space runs out, and the next backup works', async () => {
    const small = site.makeFolder('small');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=40m,mode=777', 'coffer-scratch', small]);
    // What the guest overwrites has to be kept for the backup: zeroes take no space.
    await guest.run('dd if=/dev/urandom of=/dev/vdb bs=1M count=64; sync');
    try {
      const [only] = await captureVms(testRun(), [
        {
          connection: guest.connection,
          reconnect: () => site.open(),
          domain: guest.domain,
          base: undefined,
          exclude: [],
          demanded: 'best',
          pauses: false,
          memory: false,
          scratchFolder: small,
          scratchBytesMax: Infinity,
          waitMs: 0,
          repositoryId: 'test',
        },
      ]);
      await using capture = only!;
      // The agent does not answer while the machine is paused.
      await guest.begin('sleep 1; dd if=/dev/urandom of=/dev/vdb bs=1M count=64; sync');
      await eventually('the space has run out', () => capture.signal.aborted);
      assert.ok(isCofferError(capture.signal.reason, 'scratch-full'));
    } finally {
      execFileSync('umount', [small]);
    }
    assert.equal(await guest.state(), 'running');
    await vm.backUp('--consistency', 'file');
    await vm.assertPointIsCurrent();
    await vm.assertNothingLeft();
  });

  test('what is not there is told', async () => {
    const none = ['backup', 'vm:none', '--connect', site.uri];
    await sandbox.fails(none, 'vm-not-found', 12);
    const nowhere = ['vms', '--connect', 'qemu+unix:///session?socket=/nowhere'];
    await sandbox.fails(nowhere, 'libvirt-unreachable', 21);
    await sandbox.fails(['vms', '--connect', 'esx://host'], 'usage', 2);
    await sandbox.fails(vm.words('--exclude-disk', 'vdz'), 'usage', 2);
  });
});
