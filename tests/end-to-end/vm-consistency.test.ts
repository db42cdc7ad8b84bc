// How guests are held for the moment of a checkpoint, what is reached, and that none stays held.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { isCofferError, systemClock } from '@coffer/base';
import { GuestAgent } from '@coffer/workloads/libvirt/agent/guest-agent.ts';
import { startWatchdog } from '@coffer/workloads/libvirt/capture/watchdog.ts';
import { eventually } from '../guests/eventually.ts';
import { LibvirtSite, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest, type MiniGuest } from '../guests/mini-guest.ts';
import { SiteGuest } from '../guests/site-guest.ts';
import { ProtectedVm, SLOW_RATE } from './testing/protected-vm.ts';
import { type Backup, PASSPHRASE, Sandbox } from './testing/sandbox.ts';

type VmBackup = Backup & {
  readonly vm: string;
  readonly consistency: { level: string; reason?: string; frozenMs: number };
  readonly disks: readonly { name: string; mode: string; reason?: string }[];
};

const SCRIPTS = '/etc/coffer/freeze.d';

describe('guests that are held still', () => {
  let sandbox: Sandbox;
  let site: LibvirtSite;
  let mini: MiniGuest;
  let web: SiteGuest;
  let db: SiteGuest;
  let scratch: string;
  before(async () => {
    sandbox = await Sandbox.withRecoveryKey();
    site = await LibvirtSite.start();
    mini = buildMiniGuest(sandbox.folder);
    scratch = site.makeFolder('scratch');
    [web, db] = [await define('web'), await define('db')];
    await Promise.all([web.start(), db.start()]);
  });
  after(async () => {
    await Promise.all([web.close(), db.close()]);
    await site.close();
    sandbox.remove();
  });

  async function define(name: string, agent = true): Promise<SiteGuest> {
    const path = `${site.makeFolder('images')}/${name}.qcow2`;
    writeRootDisk(mini, path, { format: 'qcow2', sizeMiB: 48 });
    return await SiteGuest.define(site, mini, {
      name,
      agent,
      disks: [{ path, format: 'qcow2' }],
    });
  }

  function words(...more: string[]): string[] {
    return ['backup', ...more, '--connect', site.uri, '--scratch', scratch];
  }

  async function backUp(guest: SiteGuest, code = 0, ...more: string[]): Promise<VmBackup> {
    return await sandbox.json<VmBackup>(words(`vm:${guest.name}`, ...more), code);
  }

  async function assertGoesOn(guest: SiteGuest): Promise<void> {
    await new ProtectedVm(sandbox, guest, scratch).assertNothingLeft();
    await guest.run('echo on > /root/goes-on; sync');
    assert.equal(await guest.state(), 'running');
  }

  async function writeScript(guest: SiteGuest, name: string, body: string): Promise<void> {
    const path = `${SCRIPTS}/${name}`;
    await guest.run(
      `mkdir -p ${SCRIPTS}; printf '%s\\n' '#!/bin/sh' '${body}' > ${path}; chmod +x ${path}`,
    );
  }

  async function fileOf({ point }: Backup, path: string): Promise<string> {
    return (await sandbox.done('cat', `${point}/vda/disk:${path}`)).trim();
  }

  test('file systems are frozen, for less than the backup takes', async () => {
    const { consistency, durationMs } = await backUp(web, 0, '--consistency', 'file');
    assert.equal(consistency.level, 'file-system');
    assert.match(consistency.reason ?? '', /no scripts/);
    const { frozenMs } = consistency;
    assert.ok(frozenMs > 0 && frozenMs < durationMs, `${frozenMs} of ${durationMs}`);
    await assertGoesOn(web);
  });

  test('scripts in the guest bring its applications to rest, and let them go', async () => {
    await writeScript(web, '10-first', 'echo "first $1" >> /run/order');
    await writeScript(web, '20-second', 'echo "second $1" >> /run/order');
    const { consistency, findings } = await backUp(web, 0, '--consistency', 'app');
    assert.deepEqual([consistency.level, findings], ['application', []]);
    const order = await web.run('cat /run/order; rm /run/order');
    assert.deepEqual(order.trim().split('\n'), [
      'first freeze',
      'second freeze',
      'second thaw',
      'first thaw',
    ]);
    await assertGoesOn(web);
  });

  test('a script that fails makes the point less consistent, and is told', async () => {
    await writeScript(web, '20-second', 'echo "second $1" >> /run/order; exit 7');
    const { consistency, findings } = await backUp(web, 3);
    assert.equal(consistency.level, 'file-system');
    assert.match(consistency.reason ?? '', /20-second .* 7/);
    assert.equal(findings[0]?.code, 'consistency-reduced');
    assert.match(await web.run('cat /run/order; rm /run/order'), /second thaw\nfirst thaw\n$/);
    const demanding = words('vm:web', '--consistency', 'app');
    await sandbox.fails(demanding, 'consistency-not-reached', 14);
    await assertGoesOn(web);
  });

  test('a script that hangs is ended', async () => {
    await writeScript(web, '20-second', '[ $1 = thaw ] || sleep 1000');
    const { consistency } = await backUp(web, 3);
    assert.equal(consistency.level, 'file-system');
    assert.match(consistency.reason ?? '', /took over/);
    await web.run(`rm -r ${SCRIPTS}`);
    await assertGoesOn(web);
  });

  test('a hook of the agent that fails leaves nothing frozen', async () => {
    const hook = '/etc/qemu/fsfreeze-hook.d/10-fails';
    await web.run(`printf '#!/bin/sh\\nexit 7\\n' > ${hook}; chmod +x ${hook}`);
    const { consistency, findings } = await backUp(web, 3);
    assert.equal(consistency.level, 'crash');
    assert.equal(findings[0]?.code, 'consistency-reduced');
    await assertGoesOn(web);
    await web.run(`printf '#!/bin/sh\\n[ $1 = thaw ] || sleep 15\\n' > ${hook}`);
    assert.equal((await backUp(web, 3)).consistency.level, 'crash', 'one that hangs');
    await assertGoesOn(web);
    await web.run(`rm ${hook}`);
  });

  test('a guest whose agent dies at the freeze goes on, and the point says so', async () => {
    const kill = 'while [ ! -e /run/qga.state.isfrozen ]; do sleep 0.02; done; killall -9 qemu-ga';
    await web.run(`(${kill}) >/dev/null 2>&1 &`);
    const { consistency } = await backUp(web, 3);
    assert.equal(consistency.level, 'crash');
    assert.match(consistency.reason ?? '', /thawed by something else|agent/);
    // Libvirt 9 may have lost the agent for good; the guest has not.
    await site.stopDaemon();
    await site.startDaemon();
    await Promise.all([web.reconnect(), db.reconnect()]);
    await web.waitForAgent();
    assert.equal((await backUp(web)).consistency.level, 'file-system');
    await assertGoesOn(web);
  });

  test('a guest whose host died while it was frozen thaws by itself', async () => {
    // Begins when the file systems are frozen, and cannot end before they are thawed.
    const mark = 'WRITTEN-AT-LAST';
    const untilFrozen = 'while [ ! -e /run/qga.state.isfrozen ]; do sleep 0.1; done';
    await web.begin(`${untilFrozen}; echo > /root/late; sync; echo ${mark} > /dev/ttyS0`);
    await startWatchdog(new GuestAgent(web.connection, web.domain, systemClock));
    const frozen = await web.connection.freeze(web.domain);
    assert.ok(frozen > 0);
    await eventually('what could not be written is written', () => web.console().includes(mark));
    assert.equal(await web.connection.thaw(web.domain), 0, 'nothing was frozen any more');
    await assertGoesOn(web);
  });

  test('what a run that was killed has frozen is thawed by the next one', async () => {
    await web.run('rm -f /run/order');
    await writeScript(web, '10-first', 'echo "first $1" >> /run/order');
    const folder = `${scratch}/coffer-vm-${web.domain.uuid.slice(0, 8)}`;
    mkdirSync(folder);
    writeFileSync(`${folder}/owner`, '1 1');
    writeFileSync(`${folder}/frozen`, `${web.domain.id} `);
    await web.connection.freeze(web.domain);
    const { consistency } = await backUp(web, 0, '--consistency', 'app');
    assert.equal(consistency.level, 'application');
    assert.match(await web.run('cat /run/order'), /^first thaw\nfirst freeze\nfirst thaw\n$/);
    await web.run(`rm -r ${SCRIPTS}`);
    await assertGoesOn(web);
  });

  test('a machine without an agent may be paused, and goes on', async () => {
    const bare = await define('bare', false);
    await bare.connection.create(bare.domain);
    const { consistency, findings } = await backUp(bare, 0, '--pause');
    assert.equal(consistency.level, 'crash');
    assert.match(consistency.reason ?? '', /paused for the moment/);
    assert.deepEqual(findings, []);
    assert.equal(await bare.state(), 'running');
    await bare.destroy();
    await bare.close();
  });

  test('a machine that was off is off again, also after a run that was killed', async () => {
    const off = await define('off');
    const child = sandbox.start(words('vm:off', '--limit-rate', SLOW_RATE));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await eventually('it is started', async () => (await off.state()) === 'paused');
    child.kill('SIGKILL');
    await ended;
    assert.equal(await off.state(), 'paused');
    assert.equal((await backUp(off)).consistency.level, 'off');
    assert.equal(await off.state(), 'shutoff');
    assert.deepEqual(readdirSync(scratch), []);
    await off.close();
  });

  test('a machine that was off, and that somebody lets run meanwhile, runs on', async () => {
    const used = await define('used');
    const held = await new ProtectedVm(sandbox, used, scratch).holdBackup();
    await used.resume();
    assert.equal((await held.release()).code, 0);
    assert.equal(await used.state(), 'running');
    assert.deepEqual(readdirSync(scratch), []);
    await used.destroy();
    await used.close();
  });

  test('machines that are captured together are of one moment', async () => {
    let counting = true;
    // What is written to one guest is written to the other when the first has it on its disk.
    const count = async (): Promise<number> => {
      for (let number = 1; ; number++) {
        for (const guest of [web, db]) {
          await untilDone(() => guest.run(`echo ${number} > /root/count; sync`));
        }
        if (!counting) return number;
      }
    };
    const counted = count();
    await eventually('both count', async () => (await countOf(db)) > 1);
    const before = await countOf(web);
    const results = await sandbox.json<VmBackup[]>(words('vm:web', 'vm:db', '--together'));
    counting = false;
    const last = await counted;
    const [inWeb, inDb] = [
      Number(await fileOf(results[0]!, 'root/count')),
      Number(await fileOf(results[1]!, 'root/count')),
    ];
    assert.ok(inWeb === inDb || inWeb === inDb + 1, `web has ${inWeb}, db has ${inDb}`);
    assert.ok(inWeb >= before && inWeb < last, `${before} <= ${inWeb} < ${last}`);
    assert.deepEqual(
      results.map(({ vm, consistency }) => [vm, consistency.level]),
      [
        ['web', 'file-system'],
        ['db', 'file-system'],
      ],
    );
    await Promise.all([assertGoesOn(web), assertGoesOn(db)]);
  });

  test('when one of a group cannot be captured, none is', async () => {
    const points = async (): Promise<number> => (await sandbox.json<unknown[]>(['points'])).length;
    const known = await points();
    await sandbox.fails(words('vm:web', 'vm:nobody', '--together'), 'vm-not-found', 12);
    const bare = await SiteGuest.find(site, 'bare');
    await bare.connection.create(bare.domain);
    const group = words('vm:web', 'vm:bare', '--together', '--consistency', 'file');
    await sandbox.fails(group, 'consistency-not-reached', 14);
    assert.equal(await points(), known);
    assert.equal(await bare.state(), 'running');
    await bare.destroy();
    await bare.close();
    await assertGoesOn(web);
  });

  test('a check reads all, and finds what was not tracked', async () => {
    const check = ['check', 'vm:db', '--connect', site.uri, '--scratch', scratch];
    await db.run('dd if=/dev/urandom of=/root/tracked bs=64k count=8; sync');
    const intact = await sandbox.json<VmBackup>(check);
    assert.deepEqual(intact.findings, []);
    assert.ok(intact.bytesRead > 8 * 1024 * 1024, `read ${intact.bytesRead}`);
    await db.run('dd if=/dev/urandom of=/root/lost bs=64k count=8; sync');
    for (const { file, name } of await new ProtectedVm(sandbox, db, scratch).bitmaps()) {
      await db.monitor('block-dirty-bitmap-clear', { node: await nodeOf(db, file), name });
    }
    const { findings } = await sandbox.json<VmBackup>(check, 3);
    assert.deepEqual(
      findings.map(({ code, subject }) => [code, subject.name]),
      [['change-untracked', 'vda']],
    );
  });

  test('a backup that is told to stop leaves nothing, and the next one is incremental', async () => {
    await backUp(db);
    const held = await new ProtectedVm(sandbox, db, scratch).holdBackup();
    assert.equal((await held.stop()).code, 130);
    await assertGoesOn(db);
    const { disks } = await backUp(db);
    assert.deepEqual(
      disks.map(({ mode }) => mode),
      ['changes'],
    );
  });

  test('a job of someone else is named, and waited for', async () => {
    const backup = `${sandbox.path('job')}.xml`;
    const scratchFile = `${site.makeFolder('images')}/foreign`;
    const server = `<server transport='unix' socket='${site.makeFolder('foreign')}/nbd'/>`;
    const disk = `<disk name='vda' backup='yes' type='file'><driver type='qcow2'/><scratch file='${scratchFile}'/></disk>`;
    writeFileSync(
      backup,
      `<domainbackup mode='pull'>${server}<disks>${disk}</disks></domainbackup>`,
    );
    await db.virsh('backup-begin', 'db', backup);
    const { message } = await sandbox.fails(words('vm:db', '--wait', '1'), 'vm-busy', 14);
    assert.match(message, /job: backup/);
    const waiting = backUp(db, 0, '--wait', '600');
    await systemClock.sleep(1500);
    await db.virsh('domjobabort', 'db');
    await waiting;
    await assertGoesOn(db);
  });

  test('too little space for scratch files is told before anything is done', async () => {
    await sandbox.fails(words('vm:db', '--scratch-limit', '1M'), 'scratch-full', 23);
    await sandbox.fails(words('vm:db', '--scratch-limit', 'little'), 'usage', 2);
    await assertGoesOn(db);
  });

  test('two repositories that protect one machine do not take each other’s checkpoints', async () => {
    const passphraseFile = sandbox.path('passphrase');
    writeFileSync(passphraseFile, PASSPHRASE);
    const other = ['--repo', sandbox.path('other'), '--passphrase-file', passphraseFile];
    await sandbox.done('init', '--quiet', ...other);
    for (const repository of [[], other]) await backUp(db, 0, ...repository);
    for (const repository of [[], other]) {
      const { disks } = await backUp(db, 0, ...repository);
      assert.deepEqual(
        disks.map(({ mode }) => mode),
        ['changes'],
      );
    }
  });
});

async function countOf(guest: SiteGuest): Promise<number> {
  return Number(await untilDone(() => guest.run('cat /root/count 2>/dev/null || echo 0')));
}

/** While a guest is frozen, its agent does not run commands. */
async function untilDone<T>(task: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await task();
    } catch (error) {
      if (!isCofferError(error)) throw error;
      await systemClock.sleep(20);
    }
  }
}

async function nodeOf(guest: SiteGuest, file: string): Promise<string> {
  type Node = { file: string; 'node-name': string; drv: string };
  const nodes = await guest.monitor<Node[]>('query-named-block-nodes', { flat: true });
  return nodes.find((node) => node.file === file && node.drv === 'qcow2')!['node-name'];
}
