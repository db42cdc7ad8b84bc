// Machines that run from their points at once, and points that are booted to see that they do.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { isCofferError } from '@coffer/base';
import { eventually } from '../guests/eventually.ts';
import { LibvirtSite, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest, type MiniGuest } from '../guests/mini-guest.ts';
import { SiteGuest } from '../guests/site-guest.ts';
import { ProtectedVm } from './testing/protected-vm.ts';
import { type Backup, Sandbox } from './testing/sandbox.ts';

type Instant = { vm: string; uuid: string; served: boolean };
type Tested = {
  passed: boolean;
  verdict: string;
  exitCode?: number;
  output?: string;
  screenshot?: string;
};

const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

describe('points that run as they are', () => {
  let sandbox: Sandbox;
  let site: LibvirtSite;
  let mini: MiniGuest;
  let web: SiteGuest;
  let point: Backup;
  let folder: string;
  let connect: string[];
  before(async () => {
    sandbox = await Sandbox.withRecoveryKey();
    site = await LibvirtSite.start();
    mini = buildMiniGuest(sandbox.folder);
    folder = site.makeFolder('instant');
    web = await define('web', { agent: true });
    connect = ['--connect', site.uri];
    await web.start();
    await web.run(
      'dd if=/dev/urandom of=/root/large bs=64k count=200; md5sum /root/large > /root/sum; sync',
    );
    point = await new ProtectedVm(sandbox, web).backUp('--consistency', 'file');
    await web.destroy();
  });
  after(async () => {
    await web.close();
    // Machines that a failed test has left would keep their processes.
    for (const { vm } of await sandbox.json<Instant[]>(['instant', 'list'])) {
      await sandbox.run(['instant', 'discard', vm, '--yes']);
    }
    await site.close();
    sandbox.remove();
  });

  async function define(name: string, more: { agent: boolean }): Promise<SiteGuest> {
    const path = `${site.makeFolder('images')}/${name}.qcow2`;
    writeRootDisk(mini, path, { format: 'qcow2', sizeMiB: 64 });
    const disks = [{ path, format: 'qcow2' }] as const;
    return await SiteGuest.define(site, mini, { name, disks, screen: true, ...more });
  }

  function instantly(name: string, ...more: string[]): string[] {
    const as = ['--as', name, '--folder', folder, '--instant'];
    return ['restore', point.point, ...as, ...connect, ...more];
  }

  async function list(): Promise<Instant[]> {
    return await sandbox.json<Instant[]>(['instant', 'list']);
  }

  /** Reads what is on the point, past all caches of the guest. */
  async function assertWhole(guest: SiteGuest): Promise<void> {
    await guest.run('echo 3 > /proc/sys/vm/drop_caches; md5sum -c /root/sum');
  }

  function killed(pattern: string): void {
    execFileSync('pkill', ['-KILL', '-f', pattern]);
  }

  test('a machine runs at once, and pauses while nobody serves its disks', async () => {
    await sandbox.json(instantly('now'));
    const now = await SiteGuest.find(site, 'now');
    await now.waitForAgent();
    await assertWhole(now);
    assert.deepEqual(
      (await list()).map(({ vm, served }) => [vm, served]),
      [['now', true]],
    );
    await sandbox.fails(['remove', point.point], 'point-held', 12);
    for (let round = 0; round < 2; round++) {
      killed(`instant serve ${now.domain.uuid}`);
      // It may pause at the first read, and goes on when the disks are served again.
      await untilWhole(now);
      assert.equal(await now.state(), 'running');
    }
    const keeper = keeperOf(now);
    killed(`instant serve ${now.domain.uuid}`);
    await sandbox.json(['instant', 'resume', 'now']);
    assert.equal(keeperOf(now), keeper, 'who keeps it starts another server');
    await untilWhole(now);
    await now.close();
  });

  function keeperOf({ domain }: SiteGuest): string {
    return execFileSync('pgrep', ['-f', `instant keep ${domain.uuid}`]).toString();
  }

  /** The agent does not answer while the machine is paused. */
  async function untilWhole(guest: SiteGuest): Promise<void> {
    await eventually('the guest reads all that it had', async () => {
      try {
        await assertWhole(guest);
        return true;
      } catch (error) {
        if (isCofferError(error)) return false;
        throw error;
      }
    });
  }

  test('it can be resumed when all that served it is gone', async () => {
    const now = await SiteGuest.find(site, 'now');
    killed(`instant keep ${now.domain.uuid}`);
    await eventually('nobody serves it', async () => !(await list())[0]!.served);
    await sandbox.json(['instant', 'resume', 'now']);
    await untilWhole(now);
    await now.close();
  });

  test('it moves to images of its own while it runs, and needs the point no more', async () => {
    const now = await SiteGuest.find(site, 'now');
    await now.run('echo written > /root/written; sync');
    await sandbox.json(['instant', 'migrate', 'now']);
    assert.deepEqual(await list(), []);
    await eventually('its processes have ended', () => processesOf(now.domain.uuid) === '');
    await assertWhole(now);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.includes('overlay')),
      [],
    );
    await now.destroy();
    await now.start();
    await assertWhole(now);
    assert.equal((await now.run('cat /root/written')).trim(), 'written');
    const { points } = {
      points: await sandbox.json<{ point: string; held: boolean }[]>(['points']),
    };
    assert.equal(points.find((each) => each.point === point.point)?.held, false);
    await now.destroy();
    await now.close();
  });

  test('it moves at once where that is asked for', async () => {
    await sandbox.json(instantly('moved', '--migrate'));
    assert.deepEqual(await list(), []);
    const moved = await SiteGuest.find(site, 'moved');
    await moved.waitForAgent();
    await assertWhole(moved);
    await moved.destroy();
    await moved.close();
  });

  test('it can be discarded, and nothing is left', async () => {
    const before = readdirSync(folder);
    await sandbox.json(instantly('gone'));
    const gone = await SiteGuest.find(site, 'gone');
    const { uuid } = gone.domain;
    await gone.close();
    await sandbox.fails(['instant', 'discard', 'gone'], 'confirmation-needed', 2);
    await sandbox.json(['instant', 'discard', 'gone', '--yes']);
    await eventually('its processes have ended', () => processesOf(uuid) === '');
    assert.deepEqual(readdirSync(folder), before);
    assert.ok(!existsSync(`/var/tmp/coffer-instant-${uuid.slice(0, 8)}`));
    await sandbox.fails(['instant', 'migrate', 'gone'], 'vm-not-found', 12);
  });

  test('a machine that cannot be is told, and nothing is left', async () => {
    const before = readdirSync(folder);
    await sandbox.fails(instantly('web'), 'vm-name-taken', 15);
    assert.deepEqual(readdirSync(folder), before);
    assert.deepEqual(await list(), []);
  });

  test('a restore that is killed leaves nothing that serves, or a machine to discard', async () => {
    const before = [readdirSync(folder), runFolders()];
    const ofSite = `.* --repo ${sandbox.path('repo')}`;
    for (const afterMs of [0, 350, 850]) {
      const child = sandbox.start(instantly('killed'));
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await eventually('it has started another process', () => processesOf(ofSite) !== '');
      await setTimeout(afterMs);
      child.kill('SIGKILL');
      await ended;
      for (const { vm } of await list()) await sandbox.json(['instant', 'discard', vm, '--yes']);
      await eventually('its processes have ended', () => processesOf(ofSite) === '');
      await eventually('its folder is gone', () => isDeepStrictEqual(runFolders(), before[1]));
      assert.deepEqual(readdirSync(folder), before[0]);
    }
  });

  function runFolders(): string[] {
    return readdirSync('/var/tmp').filter((name) => name.startsWith('coffer-instant-'));
  }

  function trial(...more: string[]): string[] {
    return ['test', point.point, ...connect, ...more];
  }

  function assertNoTrial(): void {
    const machines = execFileSync('virsh', ['-q', '-c', site.uri, 'list', '--all', '--name']);
    assert.doesNotMatch(machines.toString(), /coffer-/);
    const left = readdirSync('/var/tmp').filter((name) => name.startsWith('coffer-test-'));
    assert.deepEqual(left, []);
  }

  test('a point that boots passes its test, and its screen is kept', async () => {
    const file = sandbox.path('screen.png');
    const tested = await sandbox.json<Tested>(
      trial('--screenshot', file, '--run', 'md5sum -c /root/sum'),
    );
    assert.deepEqual([tested.passed, tested.verdict, tested.exitCode], [true, 'command-passed', 0]);
    assert.match(tested.output ?? '', /OK/);
    assert.ok(readFileSync(file).subarray(0, PNG.length).equals(PNG));
    assertNoTrial();
  });

  test('a command that fails in the guest fails the test', async () => {
    const tested = await sandbox.json<Tested>(trial('--run', 'exit 4'), 25);
    assert.deepEqual(
      [tested.passed, tested.verdict, tested.exitCode],
      [false, 'command-failed', 4],
    );
    assertNoTrial();
  });

  test('a point that does not boot within the time fails its test', async () => {
    const tested = await sandbox.json<Tested>(trial('--timeout', '1'), 25);
    assert.deepEqual([tested.passed, tested.verdict], [false, 'timeout']);
    assertNoTrial();
  });

  test('a test that is killed leaves no machine', async () => {
    const child = sandbox.start(trial());
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const running = (): boolean =>
      execFileSync('virsh', ['-q', '-c', site.uri, 'list', '--name']).includes('coffer-');
    await eventually('the machine runs', running, { pollMs: 50 });
    child.kill('SIGKILL');
    await ended;
    await eventually('the machine is gone', () => !running());
    await sandbox.json<Tested>(trial('--timeout', '1'), 25);
    assertNoTrial();
  });

  test('a machine without an agent is judged by its screen', async () => {
    const mute = await define('mute', { agent: false });
    const backup = await new ProtectedVm(sandbox, mute).backUp();
    const words = ['test', backup.point, ...connect, '--still', '6', '--timeout', '3000'];
    const tested = await sandbox.json<Tested>(words);
    assert.deepEqual([tested.passed, tested.verdict], [true, 'screen-still']);
    assert.ok(tested.screenshot !== undefined && existsSync(tested.screenshot));
    await mute.close();
  });
});

function processesOf(uuid: string): string {
  try {
    return execFileSync('pgrep', ['-f', `instant (keep|serve) ${uuid}`]).toString();
  } catch {
    // There is none.
    return '';
  }
}
