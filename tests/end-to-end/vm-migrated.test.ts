/** A machine that moves to another host while it runs, or gets another name, and is still protected. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { LibvirtSite, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest } from '../guests/mini-guest.ts';
import { SiteGuest } from '../guests/site-guest.ts';
import { ProtectedVm } from './testing/protected-vm.ts';
import { Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;
const WRITE = 'dd if=/dev/urandom of=/dev/vdb bs=64k count=4 conv=notrunc seek';

describe('machines that move', () => {
  let sandbox: Sandbox;
  let here: LibvirtSite;
  let there: LibvirtSite;
  let guest: SiteGuest;
  before(async () => {
    sandbox = await Sandbox.withRecoveryKey();
    [here, there] = [await LibvirtSite.start(), await LibvirtSite.start()];
    const mini = buildMiniGuest(sandbox.folder);
    const images = here.makeFolder('images');
    writeRootDisk(mini, `${images}/vda.qcow2`, { format: 'qcow2', sizeMiB: 64 });
    const raw = sandbox.path('vdb.raw');
    writeFileSync(raw, randomBytes(24 * MIB));
    execFileSync('truncate', ['-s', '32M', raw]);
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, `${images}/vdb.qcow2`]);
    rmSync(raw);
    guest = await SiteGuest.define(here, mini, {
      name: 'moving',
      disks: ['vda', 'vdb'].map((name) => ({ path: `${images}/${name}.qcow2`, format: 'qcow2' })),
    });
    await guest.start();
  });
  after(async () => {
    await guest?.close();
    await here?.close();
    await there?.close();
    sandbox?.remove();
  });

  /** Moves the machine with its disks, as `virsh` does it between hosts that share no storage. */
  async function migrate(): Promise<void> {
    for (const folder of ['images', 'boot', 'console']) there.makeFolder(folder);
    execFileSync('cp', ['-r', `${here.folder}/boot`, there.folder]);
    there.own(`${there.folder}/boot`);
    for (const { target, path } of await guest.disks()) {
      const info = execFileSync('qemu-img', ['info', '-U', '--output=json', path]).toString();
      const { 'virtual-size': size } = JSON.parse(info) as { 'virtual-size': number };
      const copy = `${there.folder}/images/${target}.qcow2`;
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', copy, String(size)]);
      there.own(copy);
    }
    const definition = sandbox.path('moved.xml');
    const xml = await guest.virsh('dumpxml', 'moving', '--security-info', '--migratable');
    writeFileSync(definition, xml.replaceAll(here.folder, there.folder));
    const [uri, port, disksPort] = [there.uri, await freePort(), await freePort()];
    const how = ['--live', '--persistent', '--undefinesource', '--copy-storage-all'];
    const definitions = ['--xml', definition, '--persistent-xml', definition];
    const ports = ['--migrateuri', `tcp://127.0.0.1:${port}`, '--disks-port', String(disksPort)];
    await guest.virsh('migrate', ...how, 'moving', uri, ...ports, ...definitions);
  }

  async function freePort(): Promise<number> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    return port;
  }

  test('a machine that has moved to another host is backed up there', async () => {
    await guest.run(`${WRITE}=10; sync`);
    await new ProtectedVm(sandbox, guest).backUp('--consistency', 'file');
    await guest.run(`${WRITE}=20; sync`);
    await migrate();
    await guest.close();
    guest = await SiteGuest.find(there, 'moving');
    await guest.waitForAgent();
    await guest.run(`${WRITE}=30; sync`);
    const vm = new ProtectedVm(sandbox, guest);
    const first = await vm.assertPointIsCurrent();
    assert.ok(first.bytesRead < 20 * MIB, `its bitmaps came along, and it read ${first.bytesRead}`);
    const points = await sandbox.json<{ item: string }[]>(['points']);
    assert.deepEqual(
      points.map(({ item }) => item),
      ['vm:moving', 'vm:moving'],
      'it is the same item',
    );
    await guest.run(`${WRITE}=40; sync`);
    const next = await vm.assertPointIsCurrent();
    assert.ok(next.bytesRead < 20 * MIB, `it is tracked again, and read ${next.bytesRead}`);
    await vm.assertNothingLeft();
  });

  test('a machine that has got another name is the same item still', async () => {
    await guest.run(`${WRITE}=50; sync`);
    await guest.shutDown();
    // With checkpoints libvirt does not rename; what they were is still in the images then.
    for (const { name } of (await guest.connection.checkpoints(guest.domain)).toReversed()) {
      await guest.connection.checkpointDelete(guest.domain, name, { metadataOnly: true });
    }
    await guest.virsh('domrename', 'moving', 'renamed');
    await guest.reconnect();
    await guest.start();
    await guest.run(`${WRITE}=60; sync`);
    const vm = new ProtectedVm(sandbox, guest);
    const first = await vm.assertPointIsCurrent();
    assert.equal(first.item, 'vm:moving', 'it is the same machine');
    assert.ok(
      first.bytesRead < 20 * MIB,
      `what tracked it is known again; read ${first.bytesRead}`,
    );
    await guest.run(`${WRITE}=70; sync`);
    const next = await vm.assertPointIsCurrent();
    assert.ok(next.bytesRead < 20 * MIB, `read ${next.bytesRead}`);
    await vm.assertNothingLeft();
  });
});
