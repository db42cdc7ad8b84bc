/**
 * What happens to a machine between two backups, and to what tracks its changes. Where tracking
 * survives, the next backup reads what changed only; where it does not, that disk is read whole, by
 * itself, and is tracked again from then on. In both cases the point is what the guest wrote.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../guests/eventually.ts';
import { LibvirtSite, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest, type MiniGuest } from '../guests/mini-guest.ts';
import { SiteGuest } from '../guests/site-guest.ts';
import { allocatedBytes, ProtectedVm } from './testing/protected-vm.ts';
import { type Backup, type Outcome, Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;
/** More than the guest writes at a start, less than the disks differ by. */
const CHANGES_BYTES_MAX = 9 * MIB;
/** What the disks hold, so that each that is read whole shows. */
const BALLAST_BYTES = 16 * MIB;
const DATA_BYTES = 44 * MIB;
/** Where the guest writes on its data disk; each time elsewhere. */
const WRITTEN_STEP_BYTES = 640 * 1024;

describe('tracking of changes', () => {
  let sandbox: Sandbox;
  let site: LibvirtSite;
  let mini: MiniGuest;
  let guest: SiteGuest;
  let vm: ProtectedVm;
  let images: string;
  /** Files of the host are read at every backup, whatever has happened. */
  let hostFilesBytes: number;
  let writeCount = 0;
  /** False until the machine has a point that the next one can be based on. */
  let isBased = false;

  before(async () => {
    sandbox = await Sandbox.withRecoveryKey();
    site = await LibvirtSite.start();
    mini = buildMiniGuest(sandbox.folder);
    hostFilesBytes = statSync(mini.kernel).size + statSync(mini.initrd).size;
    writeFileSync(`${mini.root}/root/ballast`, randomBytes(BALLAST_BYTES));
    images = site.makeFolder('images');
    writeRootDisk(mini, `${images}/vda.qcow2`, { format: 'qcow2', sizeMiB: 96 });
    writeFileSync(sandbox.path('vdb.raw'), randomBytes(DATA_BYTES));
    toQcow2(sandbox.path('vdb.raw'), `${images}/vdb.qcow2`, '64M');
    guest = await SiteGuest.define(site, mini, {
      name: 'web01',
      disks: ['vda', 'vdb'].map((name) => ({
        path: `${images}/${name}.qcow2`,
        format: 'qcow2',
      })),
    });
    vm = new ProtectedVm(sandbox, guest);
    await guest.start();
  });
  after(async () => {
    await guest?.close();
    await site?.close();
    sandbox?.remove();
  });

  /** Changes something on both disks. */
  async function write(): Promise<void> {
    const seek = Math.floor((writeCount++ * WRITTEN_STEP_BYTES) / 4096) % (56 * 256);
    const data = `dd if=/dev/urandom of=/dev/vdb bs=4k count=20 seek=${seek} conv=notrunc`;
    await guest.run(`dd if=/dev/urandom of=/root/written bs=64k count=4 && ${data} && sync`);
  }

  /**
   * A machine with a point changes, then something happens to it, then it changes again. The disks
   * that the next backup must read whole are named; all others must not be.
   */
  async function survives(event: () => Promise<void>, whole: readonly string[] = []) {
    if (!isBased) {
      await recover();
      await vm.backUp();
    }
    isBased = false;
    await write();
    await event();
    await write();
    assertRead(await vm.assertPointIsCurrent(), await bytesOf(whole));
    await vm.assertNothingLeft();
    if (whole.length > 0) await assertTracked();
    isBased = true;
  }

  /** What an event that was not survived has left, so that others can still be judged. */
  async function recover(): Promise<void> {
    const { connection, domain } = guest;
    if ((await connection.jobStats(domain)).type !== 'none') await connection.abortJob(domain);
    await eventually('no job runs', async () => {
      return (await connection.jobStats(domain)).type === 'none';
    });
    if ((await guest.state()) === 'shutoff') await guest.start();
    await guest.waitForAgent();
    // What was tracked wrongly is the base of nothing.
    await vm.forgetChanges();
  }

  async function assertTracked(): Promise<void> {
    await write();
    assertRead(await vm.assertPointIsCurrent(), 0);
    await vm.assertNothingLeft();
  }

  async function bytesOf(targets: readonly string[]): Promise<number> {
    let bytes = 0;
    for (const disk of await guest.disks()) {
      if (targets.includes(disk.target)) bytes += await allocatedBytes(disk);
    }
    return bytes;
  }

  function assertRead({ bytesRead }: Backup, wholeBytes: number): void {
    const read = bytesRead - hostFilesBytes;
    assert.ok(read >= wholeBytes * 0.9, `read ${read}, expected ${wholeBytes} and what changed`);
    assert.ok(read < wholeBytes + CHANGES_BYTES_MAX, `read ${read}, expected ${wholeBytes}`);
  }

  /** A backup in whose middle something happened: it is whole, or says clearly what was wrong. */
  function assertWholeOrClear({ code, stdout, stderr }: Outcome): void {
    // What fails after the point was made is a finding.
    if (code === 0 || code === 3) return;
    const { error } = JSON.parse(stdout.toString()) as { error: { code: string } };
    assert.notEqual(error.code, 'internal', stderr);
  }

  async function whileOff(act: () => void): Promise<void> {
    await guest.destroy();
    act();
    await guest.start();
  }

  async function restartDaemon(end: () => Promise<void>): Promise<void> {
    await end();
    await site.startDaemon();
    await guest.reconnect();
    await guest.waitForAgent();
  }

  function qemuImg(...words: string[]): void {
    execFileSync('qemu-img', words, { stdio: ['ignore', 'ignore', 'inherit'] });
  }

  function toQcow2(from: string, to: string, size: string): void {
    execFileSync('truncate', ['-s', size, from]);
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', from, to);
    rmSync(from);
  }

  function swapped(text: string, [one, two]: readonly [string, string]): string {
    const pieces = text.split(one).map((piece) => piece.replaceAll(two, one));
    return pieces.join(two);
  }

  async function imageOf(target: string): Promise<string> {
    const disk = (await guest.disks()).find((each) => each.target === target);
    assert.ok(disk);
    return disk.path;
  }

  async function overlay(name: string): Promise<void> {
    const disks = ['vda', 'vdb'].map((disk) => `${disk},file=${images}/${disk}.${name}`);
    const specs = disks.flatMap((disk) => ['--diskspec', disk]);
    await guest.virsh(
      'snapshot-create-as',
      'web01',
      name,
      '--disk-only',
      '--no-metadata',
      ...specs,
    );
  }

  test('a guest that shuts down and starts again stays tracked', () =>
    survives(async () => {
      await guest.shutDown();
      await guest.start();
    }));

  test('a guest whose power is cut stays tracked', () => survives(() => whileOff(() => {})));

  test('a guest that is reset stays tracked', () =>
    survives(async () => {
      const bootId = 'cat /proc/sys/kernel/random/boot_id';
      const old = await guest.run(bootId);
      await guest.virsh('reset', 'web01');
      await guest.waitForAgent();
      assert.notEqual(await guest.run(bootId), old);
    }));

  test('a guest that panics stays tracked', () =>
    survives(async () => {
      await guest.begin('sleep 3; echo c > /proc/sysrq-trigger');
      await eventually('it panics', () => guest.console().includes('Kernel panic'));
      await whileOff(() => {});
    }));

  test('a restart of libvirtd changes nothing', () =>
    survives(() => restartDaemon(() => site.stopDaemon())));

  test('a crash of libvirtd changes nothing', () =>
    survives(() => restartDaemon(() => site.killDaemon())));

  test('a crash of libvirtd in the middle of a backup is told, and the next one works', () =>
    survives(async () => {
      const held = await vm.holdBackup('--consistency', 'crash');
      await restartDaemon(() => site.killDaemon());
      assertWholeOrClear(await held.release());
      assert.equal((await guest.connection.jobStats(guest.domain)).type, 'none');
      assert.deepEqual(readdirSync(vm.scratch), []);
    }));

  test('a crash of libvirtd in the middle of a backup of a machine that is off leaves it off', async () => {
    await guest.destroy();
    const held = await vm.holdBackup();
    await site.killDaemon();
    await site.startDaemon();
    assertWholeOrClear(await held.release());
    await guest.reconnect();
    assert.equal(await guest.state(), 'shutoff');
    assert.deepEqual(readdirSync(vm.scratch), []);
    isBased = false;
    await guest.start();
  });

  test('an external snapshot keeps what is tracked in its overlays', () =>
    survives(() => overlay('overlay')));

  test('overlays that are committed leave the image tracked', () =>
    survives(async () => {
      for (const { target } of await guest.disks()) {
        await guest.virsh('blockcommit', 'web01', target, '--active', '--pivot', '--wait');
      }
      const paths = (await guest.disks()).map(({ path }) => path);
      assert.deepEqual(paths, [`${images}/vda.qcow2`, `${images}/vdb.qcow2`]);
    }));

  test('a disk that grows while the guest runs stays tracked', () =>
    survives(async () => {
      await guest.virsh('blockresize', 'web01', 'vdb', '72M');
      await eventually('the guest sees it', async () => {
        return (await guest.run('cat /sys/block/vdb/size')).trim() === String((72 * MIB) / 512);
      });
      await guest.run('dd if=/dev/urandom of=/dev/vdb bs=64k count=1 seek=1120');
    }));

  test('a disk that is added to a running guest is read whole, and only that', () =>
    survives(async () => {
      writeFileSync(sandbox.path('vdc.raw'), randomBytes(12 * MIB));
      const image = `${images}/vdc.qcow2`;
      toQcow2(sandbox.path('vdc.raw'), image, '72M');
      site.own(image);
      const format = ['--driver', 'qemu', '--subdriver', 'qcow2', '--targetbus', 'virtio'];
      const both = ['--live', '--config'];
      await guest.virsh('attach-disk', 'web01', image, 'vdc', ...format, ...both);
      await eventually('the guest has it', async () => {
        return (await guest.run('ls /dev')).split('\n').includes('vdc');
      });
      await guest.run('dd if=/dev/urandom of=/dev/vdc bs=64k count=1 seek=1100; sync');
    }, ['vdc']));

  test('disks that change places in the definition are read whole', () =>
    survives(async () => {
      const definition = await guest.virsh('dumpxml', 'web01', '--inactive', '--security-info');
      const places = [`${images}/vdb.qcow2`, `${images}/vdc.qcow2`] as const;
      await guest.destroy();
      await guest.connection.define(swapped(definition, places));
      await guest.start();
    }, ['vdb', 'vdc']));

  test('disks whose files change places are read whole', () =>
    survives(() => {
      const [one, two, aside] = ['vdb.qcow2', 'vdc.qcow2', 'aside'].map(
        (name) => `${images}/${name}`,
      );
      return whileOff(() => {
        renameSync(one!, aside!);
        renameSync(two!, one!);
        renameSync(aside!, two!);
      });
    }, ['vdb', 'vdc']));

  test('a disk that is removed from a running guest is in no later point', async () => {
    await survives(async () => {
      await guest.virsh('detach-disk', 'web01', 'vdc', '--live', '--config');
      await eventually('it is gone', async () => (await guest.disks()).length === 2);
    });
    const restore = ['restore', 'vm:web01@latest/vdc', '--to', sandbox.path('none')];
    await sandbox.fails(restore, 'disk-not-found', 12);
  });

  test('all that was tracked by a QEMU that crashed is read whole, and tracked again', () =>
    survives(async () => {
      await guest.killQemu();
      await guest.start();
    }, ['vda', 'vdb']));

  test('a disk that grows while the guest is off stays tracked', () =>
    survives(async () => {
      const image = await imageOf('vdb');
      await whileOff(() => qemuImg('resize', '-f', 'qcow2', image, '80M'));
      await guest.run('dd if=/dev/urandom of=/dev/vdb bs=64k count=1 seek=1270; sync');
    }));

  test('a disk that shrinks while the guest is off is read whole, and only that', () =>
    survives(async () => {
      const image = await imageOf('vdb');
      await whileOff(() => qemuImg('resize', '-q', '-f', 'qcow2', '--shrink', image, '64M'));
    }, ['vdb']));

  test('what is written into an image while the guest is off is in the next point', () =>
    survives(async () => {
      const image = await imageOf('vdb');
      const command = 'write -P 0x5a 57M 128k';
      await whileOff(() => void execFileSync('qemu-io', ['-f', 'qcow2', '-c', command, image]));
    }));

  test('an image that is replaced by a copy is read whole, and only that', () =>
    survives(async () => {
      const image = await imageOf('vdb');
      const copy = `${images}/copy`;
      await whileOff(() => {
        qemuImg('convert', '-f', 'qcow2', '-O', 'qcow2', image, copy);
        renameSync(copy, image);
        site.own(image);
      });
    }, ['vdb']));

  test('a guest that shuts down in the middle of a backup stays tracked', () =>
    survives(async () => {
      const held = await vm.holdBackup('--consistency', 'crash');
      await guest.connection.shutdown(guest.domain, { agent: true });
      await eventually('it stops', async () => (await guest.state()) !== 'running');
      assertWholeOrClear(await held.release());
      await guest.waitUntilOff();
      await guest.start();
    }));
});
