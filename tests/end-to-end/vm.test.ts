// Live machines on libvirt: captured while they run, by what changed, and restored to boot.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { isCofferError, systemClock, systemRandom } from '@coffer/base';
import { captureVms } from '@coffer/workloads/libvirt/capture/capture.ts';
import type { Domain, LibvirtConnection } from '@coffer/workloads/libvirt/connection.ts';
import { BootedGuest } from '../guests/booted-guest.ts';
import { defineGuest, LibvirtSite, waitForAgent, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest, type MiniGuest, writeBootableDisk } from '../guests/mini-guest.ts';
import { type Backup, Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;

describe('live virtual machines', { timeout: 240_000 }, () => {
  let sandbox: Sandbox;
  let site: LibvirtSite;
  let connection: LibvirtConnection;
  let guest: MiniGuest;
  let vm: Domain;
  let scratch: string;
  before(async () => {
    sandbox = await Sandbox.withRepository();
    site = await LibvirtSite.start();
    guest = buildMiniGuest(sandbox.folder);
    scratch = site.makeFolder('scratch');
    const images = site.makeFolder('images');
    const raw = sandbox.path('boot.raw');
    writeBootableDisk(guest, raw, 96);
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, `${images}/vda.qcow2`]);
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', `${images}/vdb.qcow2`, '64M']);
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', `${images}/vdc.raw`, '16M']);
    vm = await defineGuest(site, guest, {
      name: 'web01',
      boot: 'disk',
      disks: [
        { path: `${images}/vda.qcow2`, format: 'qcow2' },
        { path: `${images}/vdb.qcow2`, format: 'qcow2' },
        { path: `${images}/vdc.raw`, format: 'raw' },
      ],
    });
    connection = await site.open();
    vm = await connection.create(vm);
    await waitForAgent(connection, vm);
  });
  after(async () => {
    await connection.close();
    await site.close();
    sandbox.remove();
  });

  const words = (): string[] => ['--connect', site.uri, '--scratch', scratch];

  async function backUp(...more: string[]): Promise<Backup> {
    return await sandbox.json<Backup>(['backup', 'vm:web01', ...words(), ...more]);
  }

  /** Runs a command of the shell in the guest. */
  async function inGuest(command: string): Promise<void> {
    const execution = { path: '/bin/sh', arg: ['-c', command] };
    const started = await connection.agentCommand(
      vm,
      JSON.stringify({ execute: 'guest-exec', arguments: execution }),
      5,
    );
    const { pid } = (JSON.parse(started) as { return: { pid: number } }).return;
    for (;;) {
      const query = JSON.stringify({ execute: 'guest-exec-status', arguments: { pid } });
      const answer = JSON.parse(await connection.agentCommand(vm, query, 5)) as {
        return: { exited: boolean; exitcode?: number };
      };
      if (answer.return.exited) {
        assert.equal(answer.return.exitcode, 0, command);
        return;
      }
      await systemClock.sleep(50);
    }
  }

  /** The state of a disk as the guest leaves it when it stops now, and as a point has it. */
  async function assertPointIsCurrent(): Promise<void> {
    await inGuest('sync');
    await connection.suspend(vm);
    const { point } = await backUp('--consistency', 'crash');
    for (const [name, format] of [
      ['vda', 'qcow2'],
      ['vdb', 'qcow2'],
      ['vdc', 'raw'],
    ] as const) {
      const restored = sandbox.path(`current-${name}`);
      await sandbox.done(
        'restore',
        `${point}/${name}`,
        '--to',
        restored,
        '--on-conflict',
        'overwrite',
      );
      const image = `${site.folder}/images/${name}.${format}`;
      const compare = ['compare', '-q', '-U', '-f', 'raw', '-F', format, restored, image];
      execFileSync('qemu-img', compare);
    }
    await connection.resume(vm);
  }

  async function assertNothingLeft(): Promise<void> {
    assert.deepEqual(readdirSync(scratch), []);
    assert.equal((await connection.jobStats(vm)).type, 'none');
    const query = JSON.stringify({ execute: 'guest-fsfreeze-status' });
    assert.match(await connection.agentCommand(vm, query, 5), /thawed/);
  }

  test('machines are listed, with what a backup of them would get', async () => {
    type Vm = { name: string; state: string; consistency: string; disks: { protection: string }[] };
    const [found] = await sandbox.json<Vm[]>(['vms', '--connect', site.uri]);
    assert.deepEqual(
      [found!.name, found!.state, found!.consistency, found!.disks.map((disk) => disk.protection)],
      ['web01', 'running', 'file-system', ['incremental', 'incremental', 'full-compare']],
    );
  });

  test('the first point holds all disks, and the machine goes on', async () => {
    const { kind, bytesSource, findings } = await backUp('--consistency', 'file');
    assert.equal(kind, 'vm');
    assert.equal(bytesSource, (96 + 64 + 16) * MIB);
    assert.deepEqual(findings, []);
    await assertNothingLeft();
    await assertPointIsCurrent();
  });

  test('later points read what changed only, of disks that libvirt tracks', async () => {
    await inGuest('dd if=/dev/urandom of=/root/new bs=64k count=16; sync');
    await inGuest('dd if=/dev/urandom of=/dev/vdb bs=64k count=4 seek=100; sync');
    await inGuest('dd if=/dev/urandom of=/dev/vdc bs=64k count=4 seek=10; sync');
    const { bytesRead, bytesStored } = await backUp('--consistency', 'file');
    // Of the raw disk all that is allocated, of the others what changed.
    assert.ok(bytesRead < 30 * MIB, `read ${bytesRead}`);
    assert.ok(bytesStored > MIB && bytesStored < 12 * MIB, `stored ${bytesStored}`);
    await assertPointIsCurrent();
    await assertNothingLeft();
    const names = (await connection.checkpoints(vm)).map(({ name }) => name);
    assert.ok(names.length <= 2, names.join(' '));
  });

  test('a disk whose tracking died with QEMU is read whole, and then tracked again', async () => {
    await inGuest('sync');
    execFileSync('pkill', ['-KILL', '-f', `guest=web01.*${site.folder}`]);
    for (let round = 0; (await connection.state(vm)).state !== 'shutoff'; round++) {
      assert.ok(round < 200, 'libvirt sees that QEMU is gone');
      await systemClock.sleep(50);
    }
    vm = await connection.create(vm);
    await waitForAgent(connection, vm);
    const whole = await backUp();
    assert.ok(whole.bytesRead > 20 * MIB, `read ${whole.bytesRead}`);
    await assertPointIsCurrent();
    await inGuest('echo 1 > /root/again; sync');
    const { bytesRead } = await backUp();
    assert.ok(bytesRead < whole.bytesRead / 2, `read ${bytesRead}`);
    await assertPointIsCurrent();
  });

  test('a machine that is off is captured without running', async () => {
    await inGuest('sync');
    await connection.destroy(vm);
    const { kind } = await backUp();
    assert.equal(kind, 'vm');
    assert.equal((await connection.state(vm)).state, 'shutoff');
    assert.deepEqual(readdirSync(scratch), []);
    const restored = sandbox.path('off');
    await sandbox.done('restore', 'vm:web01@latest/vda', '--to', restored);
    const image = `${site.folder}/images/vda.qcow2`;
    execFileSync('qemu-img', ['compare', '-q', '-f', 'raw', '-F', 'qcow2', restored, image]);
  });

  test('a machine is restored beside the original, and starts', async () => {
    const folder = site.makeFolder('restored');
    const original = (await connection.xml(vm, { inactive: true })).matchAll(
      /source file='([^']+)'/g,
    );
    const as = ['restore', 'vm:web01@latest', '--folder', folder, '--connect', site.uri, '--as'];
    await sandbox.fails([...as, 'web01'], 'vm-name-taken', 15);
    // Its console led to a file of the original: a finding.
    const { uuid } = await sandbox.json<{ uuid: string }>([...as, 'copy', '--start'], 3);
    assert.notEqual(uuid, vm.uuid);
    const copy = await connection.domainByUuid(uuid);
    await waitForAgent(connection, copy);
    const xml = await connection.xml(copy, { inactive: true });
    for (const [, path] of original) assert.ok(!xml.includes(path!), path);
    await connection.destroy(copy);
    await connection.undefine(copy);
  });

  test('a restored machine boots', async () => {
    const folder = sandbox.path('booted');
    mkdirSync(folder);
    const disk = sandbox.path('booted.raw');
    await sandbox.done('restore', 'vm:web01@latest/vda', '--to', disk);
    const booted = await BootedGuest.boot(disk, folder);
    assert.equal((await booted.run('cat /root/again')).trim(), '1');
    await booted.kill();
  });

  test('a machine without an agent is captured as it is, and refused when more is demanded', async () => {
    const root = `${site.folder}/images/bare.qcow2`;
    writeRootDisk(guest, root, { format: 'qcow2', sizeMiB: 32 });
    const disks = [{ path: root, format: 'qcow2' }] as const;
    const bare = await defineGuest(site, guest, { name: 'bare', disks, agent: false });
    const running = await connection.create(bare);
    const backup = ['backup', 'vm:bare', ...words()];
    await sandbox.fails([...backup, '--consistency', 'file'], 'consistency-not-reached', 14);
    assert.deepEqual(
      await connection.checkpoints(running),
      [],
      'a failed run leaves no checkpoint',
    );
    await sandbox.json<Backup>(backup);
    await connection.destroy(running);
    assert.deepEqual(readdirSync(scratch), []);
  });

  test('a backup that is killed leaves nothing after the next one', async () => {
    vm = await connection.create(vm);
    await waitForAgent(connection, vm);
    const child = sandbox.start(['backup', 'vm:web01', ...words()]);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    for (let round = 0; round < 1000 && readdirSync(scratch).length === 0; round++) {
      await systemClock.sleep(5);
    }
    while (!existsSync(`${scratch}/${readdirSync(scratch)[0] ?? ''}/nbd`))
      await systemClock.sleep(5);
    child.kill('SIGKILL');
    await ended;
    await backUp('--consistency', 'file');
    await assertNothingLeft();
    await assertPointIsCurrent();
  });

  test('of two backups at once, one is refused and the other is whole', async () => {
    const both = await Promise.all(
      [1, 2].map(() => sandbox.run(['backup', 'vm:web01', ...words()])),
    );
    const codes = both.map(({ code }) => code ?? -1).sort((a, b) => a - b);
    assert.ok(codes[0] === 0 && (codes[1] === 0 || codes[1] === 14), codes.join(' '));
    await assertNothingLeft();
    await assertPointIsCurrent();
  });

  test('a guest goes on when the scratch space runs out, and the next backup works', async () => {
    const small = site.makeFolder('small');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=40m,mode=777', 'coffer-scratch', small]);
    // What the guest overwrites has to be kept for the backup: zeroes take no space.
    await inGuest('dd if=/dev/urandom of=/dev/vdb bs=1M count=64; sync');
    try {
      const [capture] = await captureVms([
        {
          connection,
          domain: vm,
          base: undefined,
          exclude: [],
          demanded: 'best',
          pauses: false,
          scratchFolder: small,
          scratchBytesMax: Infinity,
          waitMs: 0,
          repositoryId: 'test',
          clock: systemClock,
          random: systemRandom,
        },
      ]);
      await using ended = capture!;
      // The agent does not answer while the machine is paused.
      await inGuest('(sleep 0.2; dd if=/dev/urandom of=/dev/vdb bs=1M count=64; sync) &');
      for (let round = 0; round < 500 && !ended.signal.aborted; round++) {
        await systemClock.sleep(20);
      }
      assert.ok(isCofferError(ended.signal.reason, 'scratch-full'));
    } finally {
      execFileSync('umount', [small]);
    }
    assert.equal((await connection.state(vm)).state, 'running');
    await backUp('--consistency', 'file');
    await assertPointIsCurrent();
    await assertNothingLeft();
  });

  test('what is not there is told', async () => {
    const none = ['backup', 'vm:none', ...words()];
    await sandbox.fails(none, 'vm-not-found', 12);
    const nowhere = ['vms', '--connect', 'qemu+unix:///session?socket=/nowhere'];
    await sandbox.fails(nowhere, 'libvirt-unreachable', 21);
    await sandbox.fails(['vms', '--connect', 'esx://host'], 'usage', 2);
    const excluded = ['backup', 'vm:web01', ...words(), '--exclude-disk', 'vdz'];
    await sandbox.fails(excluded, 'usage', 2);
  });
});
