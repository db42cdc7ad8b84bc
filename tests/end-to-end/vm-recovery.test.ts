// Machines that come back: in their place with a way back, again after they were lost, and in parts.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { eventually } from '../guests/eventually.ts';
import { LibvirtSite, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest } from '../guests/mini-guest.ts';
import { SiteGuest } from '../guests/site-guest.ts';
import { ProtectedVm, SLOW_RATE } from './testing/protected-vm.ts';
import { type Backup, Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;

type Restored = { uuid: string; bytesWritten: number; bytesKept: number; name: string };
type VmBackup = Backup & { disks: { name: string; mode: string }[] };

describe('virtual machines that come back', () => {
  let sandbox: Sandbox;
  let site: LibvirtSite;
  let web: SiteGuest;
  let vm: ProtectedVm;
  let first: Backup;
  let connect: string[];
  before(async () => {
    sandbox = await Sandbox.withRecoveryKey();
    site = await LibvirtSite.start();
    const mini = buildMiniGuest(sandbox.folder);
    const images = site.makeFolder('images');
    writeRootDisk(mini, `${images}/vda.qcow2`, { format: 'qcow2', sizeMiB: 64 });
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', `${images}/vdb.raw`, '32M']);
    web = await SiteGuest.define(site, mini, {
      name: 'web',
      disks: [
        { path: `${images}/vda.qcow2`, format: 'qcow2' },
        { path: `${images}/vdb.raw`, format: 'raw' },
      ],
    });
    vm = new ProtectedVm(sandbox, web);
    connect = ['--connect', site.uri];
    await web.start();
    await web.run('echo first > /root/state; echo first | dd of=/dev/vdb conv=notrunc; sync');
    first = await vm.backUp('--consistency', 'file');
  });
  after(async () => {
    await web.close();
    await site.close();
    sandbox.remove();
  });

  /** What the guest has on both of its disks. */
  async function assertState(state: string): Promise<void> {
    assert.equal((await web.run('cat /root/state')).trim(), state);
    assert.equal((await web.run('head -n 1 /dev/vdb')).trim(), state);
  }

  async function spoil(): Promise<void> {
    await web.run('echo spoilt > /root/state; echo spoilt | dd of=/dev/vdb conv=notrunc; sync');
  }

  function original(point: string, ...more: string[]): string[] {
    return ['restore', point, '--original', '--yes', ...connect, ...more];
  }

  /** A guest that was told to shut down, before the kill of who told it, may do so only now. */
  async function runsWith(state: string): Promise<boolean> {
    try {
      if ((await web.state()) === 'shutoff') await web.start();
      await assertState(state);
      return true;
    } catch (error) {
      if (isCofferError(error)) return false;
      throw error;
    }
  }

  function leftBehind(): string[] {
    return readdirSync(`${site.folder}/images`).filter((name) => name.includes('.coffer-'));
  }

  test('nothing is stopped or replaced without being confirmed', async () => {
    const unsaid = ['restore', first.point, '--original', ...connect];
    await sandbox.fails(unsaid, 'confirmation-needed', 2);
    assert.equal(await web.state(), 'running');
  });

  test('a restore that is told to stop while it makes new images leaves the machine running', async () => {
    const child = sandbox.start(original(first.point, '--limit-rate', SLOW_RATE));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await eventually('it makes them', () => leftBehind().length > 0);
    child.kill('SIGTERM');
    assert.equal(await ended, 130);
    assert.equal(await web.state(), 'running');
    assert.deepEqual(leftBehind(), []);
    assert.deepEqual(await sandbox.json(['undo', '--list']), []);
  });

  test('a machine gets its disks back, and the new state can be undone', async () => {
    await spoil();
    const { name, bytesWritten } = await sandbox.json<Restored>(original(first.point));
    assert.equal(name, 'web');
    assert.ok(bytesWritten > 8 * MIB, `${bytesWritten}`);
    assert.equal(await web.state(), 'shutoff');
    await sandbox.fails(original(first.point), 'undo-pending', 15);
    await web.start();
    await assertState('first');
    assert.equal((await sandbox.json<unknown[]>(['undo', '--list'])).length, 1);
    await sandbox.json(['undo', 'vm:web', '--yes']);
    assert.equal(await web.state(), 'shutoff');
    await web.start();
    await assertState('spoilt');
    assert.deepEqual(leftBehind(), []);
    await sandbox.fails(['undo', 'vm:web', '--yes'], 'undo-missing', 12);
  });

  test('what is accepted stays, and the machine is protected as before', async () => {
    await sandbox.json<Restored>(original(first.point, '--start'));
    await web.reconnect();
    await web.waitForAgent();
    await assertState('first');
    await sandbox.json(['accept', 'vm:web']);
    assert.deepEqual(leftBehind(), []);
    await sandbox.fails(['accept', 'vm:web'], 'undo-missing', 12);
    await vm.assertPointIsCurrent();
    await vm.assertNothingLeft();
  });

  test('with --delta only what differs is written, and tracking goes on', async () => {
    const { point } = await vm.backUp();
    await spoil();
    await web.run('dd if=/dev/urandom of=/root/large bs=64k count=100; sync');
    const { bytesWritten, bytesKept } = await sandbox.json<Restored>(original(point, '--delta'));
    assert.ok(bytesWritten < 20 * MIB && bytesKept > 70 * MIB, `${bytesWritten} ${bytesKept}`);
    await sandbox.json(['undo', 'vm:web', '--yes']);
    await web.start();
    await assertState('spoilt');
    await web.run('[ $(stat -c %s /root/large) = 6553600 ]');
    const after = (await vm.assertPointIsCurrent()) as VmBackup;
    assert.equal(after.disks.find(({ name }) => name === 'vda')?.mode, 'changes');
    assert.deepEqual(leftBehind(), []);
    await sandbox.json<Restored>(original(point, '--delta'));
    await web.start();
    await assertState('first');
    await sandbox.fails(['undo', 'vm:web', '--yes'], 'undo-too-late', 15);
    assert.equal(await web.state(), 'running');
    await sandbox.json(['accept', 'vm:web']);
    assert.deepEqual(leftBehind(), []);
    const { disks } = (await vm.assertPointIsCurrent()) as VmBackup;
    assert.equal(disks.find(({ name }) => name === 'vda')?.mode, 'changes');
    await sandbox.json<Restored>(original(point, '--delta', '--start'));
    assert.deepEqual(leftBehind(), [], 'nothing could be undone');
    await web.reconnect();
    await web.waitForAgent();
    await assertState('first');
  });

  test('a restore that is killed at any moment can be undone, and done again', async () => {
    await web.run('echo before > /root/state; echo before | dd of=/dev/vdb conv=notrunc; sync');
    for (const [index, more] of [[], ['--delta'], []].entries()) {
      const child = sandbox.start(original(first.point, ...more));
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await eventually('it has begun', () => child.exitCode !== null || leftBehind().length > 0, {
        pollMs: 1,
      });
      await new Promise((resolve) => setTimeout(resolve, 100 * index));
      child.kill('SIGKILL');
      await ended;
      await sandbox.json(['undo', 'vm:web', '--yes']);
      assert.deepEqual(leftBehind(), []);
      await eventually('it runs as before', () => runsWith('before'));
    }
    const child = sandbox.start(original(first.point, '--limit-rate', SLOW_RATE));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await eventually('it has begun', () => leftBehind().length > 0);
    child.kill('SIGKILL');
    await ended;
    await sandbox.fails(['accept', 'vm:web'], 'undo-pending', 15);
    await sandbox.json<Restored>(original(first.point));
    await sandbox.json(['accept', 'vm:web']);
    await web.start();
    await assertState('first');
  });

  test('all that does not fit is told at once, and nothing is written', async () => {
    const nowhere = sandbox.path('nowhere');
    const below = ['--folder', `${nowhere}/below`];
    const as = ['restore', first.point, ...connect, '--as', 'web', ...below];
    const { message } = await sandbox.fails(as, 'target-unfit', 15);
    assert.match(message, /machine named web.*no folder/);
    assert.ok(!existsSync(nowhere));
    const long = ['restore', first.point, ...connect, '--folder', sandbox.folder, '--as'];
    await sandbox.fails([...long, 'x'.repeat(250)], 'target-unfit', 15);
    await sandbox.fails(
      [...long.slice(0, -3), '--pool', 'none', '--as', 'new'],
      'target-unfit',
      15,
    );
    await sandbox.fails(['restore', first.point, ...connect, '--as', 'new'], 'usage', 2);
    await sandbox.fails([...as, '--dry-run'], 'usage', 2);
  });

  test('disks are restored as images of any format', async () => {
    const folder = sandbox.path('disks');
    const disks = ['restore', first.point, '--to', folder];
    await sandbox.json([...disks, '--disks']);
    await sandbox.json([...disks, '--disk', 'vda', '--format', 'vhdx']);
    await sandbox.json([...disks, '--disk', 'vdb', '--format', 'qcow2']);
    assert.deepEqual(readdirSync(folder).sort(), ['vda.raw', 'vda.vhdx', 'vdb.qcow2', 'vdb.raw']);
    for (const [raw, other, format] of [
      ['vda.raw', 'vda.vhdx', 'vhdx'],
      ['vdb.raw', 'vdb.qcow2', 'qcow2'],
    ] as const) {
      const words = ['compare', '-q', '-f', 'raw', '-F', format];
      execFileSync('qemu-img', [...words, `${folder}/${raw}`, `${folder}/${other}`]);
    }
    assert.equal(statSync(`${folder}/vdb.raw`).size, 32 * MIB);
    await sandbox.fails([...disks, '--disks'], 'target-not-empty', 15);
    await sandbox.fails([...disks, '--disk', 'vdz'], 'disk-not-found', 12);
  });

  test('a machine that is gone comes back as it was', async () => {
    const { uuid } = web.domain;
    await web.destroy();
    await web.virsh('undefine', 'web', '--checkpoints-metadata');
    for (const name of readdirSync(`${site.folder}/images`)) {
      rmSync(`${site.folder}/images/${name}`);
    }
    const restored = await sandbox.json<Restored>(original(first.point, '--start'));
    assert.equal(restored.uuid, uuid);
    await web.reconnect();
    await web.waitForAgent();
    await assertState('first');
    await vm.assertPointIsCurrent();
  });

  test('with its memory a machine goes on where it was, in its place and elsewhere', async () => {
    await web.run(
      'echo in-memory > /run/token; (while :; do sleep 1; done) > /dev/null 2>&1 & echo $! > /run/pid',
    );
    await web.run('echo unsynced > /root/state');
    await web.suspend();
    await sandbox.fails(vm.words('--memory'), 'memory-not-captured', 14);
    await web.resume();
    await vm.assertNothingLeft();
    const point = await vm.backUp('--memory');
    await vm.assertNothingLeft();
    const goesOn = async (guest: SiteGuest): Promise<void> => {
      assert.equal(await guest.run('cat /run/token /root/state'), 'in-memory\nunsynced\n');
      await guest.run('kill -0 $(cat /run/pid)');
    };
    await goesOn(web);
    await sandbox.fails(original(first.point, '--resume'), 'memory-missing', 12);
    await web.destroy();
    await sandbox.json<Restored>(original(point.point, '--resume'));
    await web.reconnect();
    await web.waitForAgent();
    await goesOn(web);
    await sandbox.json(['accept', 'vm:web']);
    assert.deepEqual(leftBehind(), []);
    await sandbox.fails(vm.words('--memory', '--consistency', 'crash'), 'usage', 2);
    const again = await vm.backUp('--memory');
    await web.destroy();
    await web.virsh('undefine', 'web', '--checkpoints-metadata');
    const place = ['--folder', site.makeFolder('elsewhere'), ...connect, '--resume'];
    const as = (name: string): string[] => ['restore', again.point, '--as', name, ...place];
    await sandbox.fails(as('web'), 'usage', 2);
    await sandbox.fails([...as('elsewhere'), '--keep-identity'], 'usage', 2);
    await sandbox.json([...as('web'), '--keep-identity']);
    const elsewhere = await SiteGuest.find(site, 'web');
    await elsewhere.waitForAgent();
    await goesOn(elsewhere);
    await elsewhere.destroy();
    await elsewhere.close();
  });
});
