// Machines of the system's own libvirt, whose QEMU is another user: all kinds of disks, and what is
// around them. None of them has a system in it; what matters is where things lie.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../guests/eventually.ts';
import { LibvirtSite } from '../guests/libvirt-site.ts';
import { SYSTEM } from '../guests/site-kind.ts';
import {
  assertMarked,
  BareMachine,
  createImage,
  disk,
  fileDisk,
  mark,
} from './testing/bare-machine.ts';
import { type Backup, outcomeOf, Sandbox } from './testing/sandbox.ts';

const OVMF_CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const OVMF_VARS = '/usr/share/OVMF/OVMF_VARS_4M.fd';
const FINDINGS = 3;
const UNFIT = 15;

type Modes = { disks: { name: string; mode: string }[] };
type Told = { findings: { code: string; subject: { name: string }; message: string }[] };
type Discovered = { name: string; disks: { name: string; protection: string }[] }[];

describe('machines of the system', { timeout: 600_000 }, () => {
  let sandbox: Sandbox;
  let site: LibvirtSite;
  let images: string;
  let connect: string[];
  before(async () => {
    sandbox = await Sandbox.withRecoveryKey();
    site = await LibvirtSite.start(SYSTEM);
    images = site.makeFolder('images');
    connect = ['--connect', site.uri];
  });
  after(async () => {
    await site?.close();
    sandbox?.remove();
  });

  function backUp(name: string, code = 0): Promise<Backup & Modes> {
    const scratch = ['--scratch', site.makeFolder('scratch')];
    return sandbox.json(['backup', `vm:${name}`, ...scratch, ...connect], code);
  }

  function original(name: string, ...more: readonly string[]): string[] {
    return ['restore', `vm:${name}@latest`, '--original', '--yes', ...more, ...connect];
  }

  function left(folder = images): string[] {
    return readdirSync(folder).filter((name) => name.includes('.coffer-'));
  }

  describe('with disks of all kinds', () => {
    const at = (name: string): string => `${images}/${name}`;
    let kinds: BareMachine;
    before(() => {
      kinds = new BareMachine(site, 'kinds');
      for (const name of ['file', 'volume', 'behind-link']) createImage(at(name));
      createImage(at('old'), '-o', 'compat=0.10');
      createImage(at('with-data'), '-o', `data_file=${at('data')}`);
      // Libvirt gives QEMU only what it knows of.
      chmodSync(at('data'), 0o666);
      symlinkSync('behind-link', at('link'));
      kinds.virsh('pool-create-as', '--name', 'pool', '--type', 'dir', '--target', images);
      kinds.define([
        fileDisk('vda', at('file')),
        fileDisk('vdb', at('old')),
        disk('vdc', 'volume', `<source pool='pool' volume='volume'/>`),
        fileDisk('vdd', at('link')),
        fileDisk('vde', at('with-data')),
      ]);
      markAll(1);
    });

    const all = ['file', 'old', 'volume', 'link', 'with-data'];
    function markAll(byte: number): void {
      for (const name of all) mark(at(name), byte);
    }
    function assertAll(byte: number): void {
      for (const name of all) assertMarked(at(name), byte);
    }

    test('only what has changed is read where it is tracked, which `coffer vms` tells before', async () => {
      const first = await backUp('kinds', FINDINGS);
      assert.deepEqual(
        first.findings.map(({ code, subject }) => `${code} ${subject.name}`),
        ['image-outdated kinds vdb'],
      );
      const amend = `qemu-img amend -f qcow2 -o compat=1.1 ${at('old')}`;
      assert.ok(first.findings[0]!.message.includes(amend), first.findings[0]!.message);
      const second = await backUp('kinds', FINDINGS);
      const modes = second.disks.map(({ name, mode }) => [name, mode]);
      const vms = await sandbox.json<Discovered>(['vms', ...connect]);
      const promised = vms
        .find(({ name }) => name === 'kinds')!
        .disks.map((each) => {
          return [each.name, each.protection === 'incremental' ? 'changes' : 'whole'];
        });
      assert.deepEqual(modes, promised);
      assert.deepEqual(Object.fromEntries(modes), {
        vda: 'changes',
        vdb: 'whole',
        vdc: 'changes',
        vdd: 'changes',
        vde: 'changes',
      });
    });

    test('all of them come back in their places, and the old ones as well', async () => {
      markAll(2);
      const { findings } = await sandbox.json<Told>(original('kinds'));
      assert.deepEqual(
        findings.map(({ code, subject }) => `${code} ${subject.name}`),
        ['data-file-left vde'],
      );
      assertAll(1);
      assert.ok(lstatSync(at('link')).isSymbolicLink());
      kinds.virsh('start', 'kinds');
      kinds.virsh('destroy', 'kinds');
      await sandbox.done('undo', 'vm:kinds', '--yes');
      assertAll(2);
      assert.deepEqual(left(), []);
    });

    test('what differs is written in place where the file says all of it', async () => {
      const { message } = await sandbox.fails(original('kinds', '--delta'), 'target-unfit', UNFIT);
      assert.match(message, /vde has its data in a file of their own/);
      assertAll(2);
    });

    test('a machine that is gone comes back with the volumes that it had', async () => {
      kinds.virsh('undefine', 'kinds', '--checkpoints-metadata');
      const { message } = await sandbox.fails(original('kinds'), 'target-unfit', UNFIT);
      assert.match(message, /there is a file already/);
      const { folder } = sandbox;
      for (const name of ['file', 'old', 'volume', 'behind-link', 'link', 'with-data']) {
        execFileSync('mv', [at(name), folder]);
      }
      await sandbox.json(original('kinds'));
      assertAll(1);
      kinds.virsh('start', 'kinds');
      kinds.virsh('destroy', 'kinds');
    });
  });

  test('an encrypted disk keeps all disks of its machine as they are, and a copy is told to be plain', async () => {
    const [plain, sealed] = [`${images}/plain`, `${images}/sealed`];
    const uuid = '0a1b2c3d-1111-4222-8333-444444444444';
    createImage(plain);
    execFileSync('truncate', ['-s', '8M', sealed]);
    const luks = ['--type', 'luks1', '--pbkdf-force-iterations', '1000', '--key-file', '-'];
    execFileSync('cryptsetup', ['luksFormat', '--batch-mode', ...luks, sealed], { input: 'open' });
    const vault = new BareMachine(site, 'vault');
    const usage = '<usage type="volume"><volume>sealed</volume></usage>';
    const secret = `<secret ephemeral='no' private='yes'><uuid>${uuid}</uuid>${usage}</secret>`;
    vault.virshOf('secret-define', secret);
    vault.virsh('secret-set-value', uuid, Buffer.from('open').toString('base64'));
    const encryption = `<encryption format='luks'><secret type='passphrase' uuid='${uuid}'/></encryption>`;
    vault.define([
      fileDisk('vda', plain),
      disk('vdb', 'file', `<source file='${sealed}'>${encryption}</source>`, 'raw'),
    ]);
    mark(plain, 1);
    await backUp('vault');
    mark(plain, 2);
    const before = readFileSync(sealed);
    for (const more of [[], ['--delta']]) {
      const { message } = await sandbox.fails(original('vault', ...more), 'target-unfit', UNFIT);
      assert.match(message, /vdb is encrypted/);
    }
    assertMarked(plain, 2);
    assert.ok(readFileSync(sealed).equals(before));
    const as = ['restore', 'vm:vault@latest', '--as', 'copy', '--folder', `${images}/copy`];
    const { findings } = await sandbox.json<Told>([...as, ...connect], FINDINGS);
    assert.deepEqual(
      findings.map(({ code }) => code),
      ['encryption-dropped'],
    );
    vault.virsh('undefine', 'vault', '--checkpoints-metadata');
    for (const path of [plain, sealed]) execFileSync('mv', [path, sandbox.folder]);
    const { message } = await sandbox.fails(original('vault'), 'target-unfit', UNFIT);
    assert.match(message, /vdb is encrypted/);
    assert.deepEqual([existsSync(plain), existsSync(sealed)], [false, false]);
  });

  test('a disk on a server keeps all disks of its machine as they are, and comes with a copy', async () => {
    const [here, there] = [`${images}/here`, `${images}/there`];
    const socket = `${site.makeFolder('server')}/nbd`;
    for (const path of [here, there]) createImage(path);
    for (const path of [here, there]) mark(path, 1);
    const server = ['--persistent', '--fork', '-f', 'raw', '-k', socket, there];
    execFileSync('qemu-nbd', [...server, '--pid-file', sandbox.path('qemu-nbd.pid')]);
    const pid = Number.parseInt(readFileSync(sandbox.path('qemu-nbd.pid'), 'utf8'), 10);
    try {
      chmodSync(socket, 0o777);
      const host = `<host transport='unix' socket='${socket}'/>`;
      const remote = new BareMachine(site, 'remote');
      remote.define([
        fileDisk('vda', here),
        disk('vdb', 'network', `<source protocol='nbd'>${host}</source>`),
      ]);
      await backUp('remote');
      assert.deepEqual(
        (await backUp('remote')).disks.map(({ mode }) => mode),
        ['changes', 'whole'],
        'two images on a server could be taken for each other',
      );
      mark(here, 2);
      const { message } = await sandbox.fails(original('remote'), 'target-unfit', UNFIT);
      assert.match(message, /vdb is nbd .* which cannot be written/);
      assertMarked(here, 2);
      const folder = `${images}/of-remote`;
      const as = ['restore', 'vm:remote@latest', '--as', 'near', '--folder', folder];
      await sandbox.json([...as, ...connect]);
      for (const name of ['vda', 'vdb']) assertMarked(`${folder}/near-${name}.qcow2`, 1);
    } finally {
      process.kill(pid);
    }
  });

  test('a restore goes on, and can be undone, when libvirtd is restarted in the middle of it', async () => {
    const path = `${images}/restarted`;
    createImage(path);
    const restarted = new BareMachine(site, 'restarted');
    restarted.define([fileDisk('vda', path)]);
    mark(path, 1);
    await backUp('restarted');
    mark(path, 2);
    const child = sandbox.start(original('restarted'));
    const outcome = outcomeOf(child);
    await eventually('it makes a new image', () => left().length > 0, { pollMs: 1 });
    child.kill('SIGSTOP');
    await site.stopDaemon();
    await site.startDaemon();
    child.kill('SIGCONT');
    const { code, stderr } = await outcome;
    assert.equal(code, 0, stderr);
    assertMarked(path, 1);
    await sandbox.done('undo', 'vm:restarted', '--yes');
    assertMarked(path, 2);
    assert.deepEqual(left(), []);
  });

  test('a machine that was renamed is undone by its name now, and not by that of another', async () => {
    const [own, other] = [`${images}/own`, `${images}/other`];
    for (const path of [own, other]) createImage(path);
    const renamed = new BareMachine(site, 'renamed');
    renamed.define([fileDisk('vda', own)]);
    await backUp('renamed');
    mark(own, 2);
    renamed.virsh('domrename', 'renamed', 'now');
    const restored = await sandbox.done(...original('renamed'));
    assert.match(restored, /coffer undo vm:now/);
    new BareMachine(site, 'renamed').define([fileDisk('vda', other)]);
    await sandbox.fails(['undo', 'vm:renamed', '--yes'], 'undo-missing', 12);
    await sandbox.done('undo', 'vm:now', '--yes');
    assertMarked(own, 2);
  });

  test('UEFI variables go to where the machine has them now, and not over those of another', async () => {
    const at = (name: string): string => `${images}/${name}.fd`;
    const marked = (name: string, text?: string): string => {
      const variables = readFileSync(existsSync(at(name)) ? at(name) : OVMF_VARS);
      if (text !== undefined) variables.write(text, 1000);
      if (text !== undefined) writeFileSync(at(name), variables);
      return variables.toString('latin1', 1000, 1004);
    };
    const firmware = (name: string, uuid = ''): string =>
      `${uuid}<os><type arch='x86_64' machine='q35'>hvm</type>` +
      `<loader readonly='yes' type='pflash'>${OVMF_CODE}</loader><nvram>${at(name)}</nvram></os><features><acpi/></features>`;
    for (const name of ['uefi', 'second']) createImage(`${images}/${name}`);
    marked('first', 'OLD1');
    const uefi = new BareMachine(site, 'uefi');
    uefi.define([fileDisk('vda', `${images}/uefi`)], firmware('first'));
    await backUp('uefi');
    const uuid = `<uuid>${uefi.uuid}</uuid>`;
    uefi.virsh('undefine', 'uefi', '--keep-nvram', '--checkpoints-metadata');
    marked('moved', 'NEW2');
    uefi.define([fileDisk('vda', `${images}/uefi`)], firmware('moved', uuid));
    marked('first', 'OTHR');
    const second = new BareMachine(site, 'second');
    second.define([fileDisk('vda', `${images}/second`)], firmware('first'));
    await sandbox.json(original('uefi'));
    assert.deepEqual([marked('first'), marked('moved')], ['OTHR', 'OLD1']);
    await sandbox.done('undo', 'vm:uefi', '--yes');
    assert.equal(marked('moved'), 'NEW2');
    uefi.define([fileDisk('vda', `${images}/uefi`)], firmware('first', uuid));
    const { message } = await sandbox.fails(original('uefi'), 'target-unfit', UNFIT);
    assert.match(message, /the machine second uses it, too/);
    assert.equal(marked('first'), 'OTHR');
  });

  test('old images are kept beside a device that is changed in place, and that is told', async (context) => {
    const file = `${images}/beside`;
    createImage(file);
    const [device, formatted] = ['backing', 'formatted'].map((name) => {
      execFileSync('truncate', ['-s', '8M', sandbox.path(name)]);
      return execFileSync('losetup', ['--find', '--show', sandbox.path(name)])
        .toString()
        .trim();
    }) as [string, string];
    context.after(() => execFileSync('losetup', ['--detach', device, formatted]));
    createImage(formatted);
    const mixed = new BareMachine(site, 'mixed');
    mixed.define([
      fileDisk('vda', file),
      disk('vdb', 'block', `<source dev='${device}'/>`, 'raw'),
      disk('vdc', 'block', `<source dev='${formatted}'/>`),
    ]);
    const markAll = (byte: number): void => {
      mark(file, byte);
      mark(device, byte, 'raw');
      mark(formatted, byte);
    };
    markAll(1);
    await backUp('mixed');
    markAll(2);
    const { code, stderr, stdout } = await sandbox.run(original('mixed', '--start'));
    assert.equal(code, FINDINGS, stderr);
    assert.match(stderr, /vdb: .* is a device: once the machine runs, its old state cannot come/);
    assert.match(stdout.toString(), /cannot be undone as a whole/);
    mixed.virsh('destroy', 'mixed');
    assertMarked(file, 1);
    assertMarked(device, 1, 'raw');
    assertMarked(formatted, 1);
    assertMarked(`${file}.coffer-old`, 2);
    await sandbox.done('accept', 'vm:mixed');
    assert.deepEqual(left(), []);
  });

  test('an image that those of other machines lie on is not replaced below them', async () => {
    const [base, top] = [`${images}/template`, `${images}/clone`];
    createImage(base);
    mark(base, 1);
    const template = new BareMachine(site, 'template');
    template.define([fileDisk('vda', base)]);
    await backUp('template');
    createImage(top, '-F', 'qcow2', '-b', base);
    new BareMachine(site, 'clone').define([fileDisk('vda', top)]);
    const { message } = await sandbox.fails(original('template'), 'target-unfit', UNFIT);
    assert.match(message, /the machine clone uses it, too/);
    assert.deepEqual(left(), []);
  });

  test('a device that became too small is told before anything is changed', async (context) => {
    const [large, small] = [sandbox.path('large'), sandbox.path('small')];
    const devices = [large, small].map((path, index) => {
      execFileSync('truncate', ['-s', `${4 - 2 * index}M`, path]);
      return execFileSync('losetup', ['--find', '--show', path]).toString().trim();
    });
    context.after(() => execFileSync('losetup', ['--detach', ...devices]));
    const shrunk = new BareMachine(site, 'shrunk');
    const [before, now] = devices.map((path) =>
      disk('vda', 'block', `<source dev='${path}'/>`, 'raw'),
    );
    shrunk.define([before!]);
    await backUp('shrunk');
    const uuid = `<uuid>${shrunk.uuid}</uuid><os><type arch="x86_64" machine="pc">hvm</type></os>`;
    shrunk.define([now!], uuid);
    const { message } = await sandbox.fails(original('shrunk'), 'target-unfit', UNFIT);
    assert.match(message, /has 2097152 bytes, 4194304 are needed/);
  });

  test('a folder that QEMU cannot enter is told before anything is written, and a new one is made', async () => {
    createImage(`${images}/placed`);
    const placed = new BareMachine(site, 'placed');
    placed.define([fileDisk('vda', `${images}/placed`)]);
    await backUp('placed');
    const closed = `${images}/closed`;
    mkdirSync(closed, { mode: 0o700 });
    for (const how of [[], ['--instant']]) {
      for (const folder of [closed, `${closed}/new`]) {
        const to = ['--as', 'new', '--folder', folder, ...how, ...connect];
        const words = ['restore', 'vm:placed@latest', ...to];
        const { message } = await sandbox.fails(words, 'target-unfit', UNFIT);
        assert.match(message, /may not enter/);
      }
    }
    assert.deepEqual(readdirSync(closed), []);
    assert.throws(() => placed.virsh('domstate', 'new'));
    const folder = `${images}/open`;
    const to = ['--as', 'new', '--folder', folder, '--start', ...connect];
    await sandbox.json(['restore', 'vm:placed@latest', ...to]);
    assert.equal(new BareMachine(site, 'new').state, 'running');
    assert.deepEqual(readdirSync(folder), ['new-vda.qcow2']);
  });
});
