// The connection to libvirt against a real daemon, with machines that QEMU runs.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CofferError, isCofferError, systemClock } from '@coffer/base';
import {
  BLOCK_COPY,
  type Domain,
  type EventName,
  type LibvirtConnection,
  type LibvirtEvents,
  openLibvirt,
} from '@coffer/workloads/libvirt/connection.ts';
import { libvirtCodeOf } from '@coffer/workloads/libvirt/errors.ts';
import { defineGuest, LibvirtSite, waitForAgent, writeRootDisk } from '../guests/libvirt-site.ts';
import { buildMiniGuest } from '../guests/mini-guest.ts';

const UNKNOWN_UUID = '00000000-1111-2222-3333-444444444444';
const MIB = 1024 * 1024;

let site: LibvirtSite;
let connection: LibvirtConnection;
/** Runs, with an agent. */
let mini: Domain;
/** Is off, and has no channel for an agent. */
let mute: Domain;

before(async () => {
  site = await LibvirtSite.start();
  connection = await site.open();
  mkdirSync(join(site.folder, 'guest'));
  const guest = buildMiniGuest(join(site.folder, 'guest'));
  const folder = site.makeFolder('disks');
  const disks = ['mini', 'mute'].map((name) => join(folder, `${name}.qcow2`));
  const make = async (name: string, path: string, agent: boolean): Promise<Domain> => {
    writeRootDisk(guest, path, { format: 'qcow2', sizeMiB: 64 });
    return await defineGuest(site, guest, { name, disks: [{ path, format: 'qcow2' }], agent });
  };
  mini = await make('mini', disks[0]!, true);
  mute = await make('mute', disks[1]!, false);
  const agents: string[] = [];
  const stop = await connection.on('agentLifecycle', ({ domain, state }) => {
    agents.push(`${domain.name} ${state}`);
  });
  mini = await connection.create(mini);
  await waitForAgent(connection, mini);
  stop();
  assert.equal(agents.at(-1), 'mini connected');
});

after(async () => {
  await connection?.close();
  await site?.close();
});

/** The code of Coffer and the number of libvirt that a call fails with. */
async function failureOf(call: Promise<unknown>): Promise<[string, number | undefined]> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(isCofferError(error), `it does not fail as it should: ${String(error)}`);
  return [error.code, libvirtCodeOf(error)];
}

/** Resolves with the first such event after what is done. */
async function eventAfter<E extends EventName>(
  name: E,
  act: () => Promise<unknown>,
  isMeant: (event: LibvirtEvents[E]) => boolean = () => true,
): Promise<LibvirtEvents[E]> {
  const seen = Promise.withResolvers<LibvirtEvents[E]>();
  connection.ended.addEventListener('abort', () => seen.reject(connection.ended.reason));
  const stop = await connection.on(name, (event) => {
    if (isMeant(event)) seen.resolve(event);
  });
  try {
    await act();
    return await seen.promise;
  } finally {
    stop();
  }
}

async function guestRun(command: string): Promise<void> {
  const run = { path: '/bin/sh', arg: ['-c', command] };
  await connection.agentCommand(
    mini,
    JSON.stringify({ execute: 'guest-exec', arguments: run }),
    60,
  );
}

test('it tells about the host', async () => {
  assert.equal(await connection.hostname(), execFileSync('hostname').toString().trim());
  assert.ok((await connection.libVersion()) >= 8_000_000);
  assert.match(await connection.capabilities(), /^<capabilities>/);
  assert.deepEqual(await connection.networks(), []);
  assert.deepEqual(await connection.storagePools(), []);
});

test('networks and storage pools are listed with what they are', async () => {
  const folder = site.makeFolder('pool & more');
  const virsh = (...args: string[]): void => void execFileSync('virsh', ['-c', site.uri, ...args]);
  const pool = join(site.folder, 'pool.xml');
  const target = folder.replace('&', '&amp;');
  writeFileSync(
    pool,
    `<pool type='dir'><name>pool</name><target><path>${target}</path></target></pool>`,
  );
  virsh('pool-create', pool);
  const network = join(site.folder, 'network.xml');
  writeFileSync(network, '<network><name>none</name></network>');
  virsh('net-define', network);
  assert.deepEqual(await connection.storagePools(), [
    { name: 'pool', active: true, targetPath: folder },
  ]);
  assert.deepEqual(await connection.networks(), [{ name: 'none', active: false }]);
  virsh('vol-create-as', 'pool', 'disk', '1M');
  assert.equal(await connection.volumePath('pool', 'disk'), join(folder, 'disk'));
  assert.equal(await connection.volumePath('pool', 'none'), undefined);
  assert.equal(await connection.volumePath('none', 'disk'), undefined);
});

test('a processor is compared with what the host can give to a machine', async () => {
  const kind = { arch: 'x86_64', machine: undefined, type: 'qemu' };
  const cpu = (feature: string): string =>
    `<cpu mode='custom' match='exact'><model>qemu64</model><feature policy='require' name='${feature}'/></cpu>`;
  assert.equal(await connection.canHaveCpu(kind, cpu('aes')), true);
  // No emulated processor has it.
  assert.equal(await connection.canHaveCpu(kind, cpu('avx512f')), false);
});

test('machines are listed and found', async () => {
  const found = await connection.domains();
  assert.deepEqual(found.map(({ name }) => name).sort(), ['mini', 'mute']);
  assert.deepEqual(await connection.domainByName('mini'), mini);
  assert.deepEqual(await connection.domainByUuid(mini.uuid), mini);
  assert.ok(mini.id > 0);
  assert.deepEqual(await connection.state(mini), { state: 'running', reason: 1 });
  assert.equal((await connection.state(mute)).state, 'shutoff');
  const xml = await connection.xml(mini, { inactive: true, secure: true, migratable: true });
  assert.match(xml, /<name>mini<\/name>/);
  assert.match(await connection.xml(mini), /<domain type='qemu' id='/);
});

test('errors are told apart by their numbers', async () => {
  const unknown = { name: 'nobody', uuid: UNKNOWN_UUID, id: -1 };
  assert.deepEqual(await failureOf(connection.domainByName('nobody')), ['vm-not-found', 42]);
  assert.deepEqual(await failureOf(connection.domainByUuid(UNKNOWN_UUID)), ['vm-not-found', 42]);
  assert.deepEqual(await failureOf(connection.domainByUuid('x')), ['vm-not-found', undefined]);
  assert.deepEqual(await failureOf(connection.xml(unknown)), ['vm-not-found', 42]);
  assert.deepEqual(await failureOf(connection.freeze(mute)), ['libvirt-failed', 55]);
  assert.deepEqual(await failureOf(connection.abortJob(mini)), ['libvirt-failed', 55]);
  assert.deepEqual(await failureOf(connection.backupXml(mini)), ['libvirt-failed', 104]);
  assert.deepEqual(await failureOf(connection.checkpointXml(mini, 'x')), ['libvirt-failed', 103]);
  assert.deepEqual(await failureOf(connection.define('<domain')), ['libvirt-failed', 35]);
  const asTaken = (await connection.xml(mute)).replace(mute.uuid, UNKNOWN_UUID);
  assert.deepEqual(await failureOf(connection.define(asTaken)), ['libvirt-failed', 9]);
});

test('an error carries what libvirt said and what was called', async () => {
  await assert.rejects(connection.domainByName('nobody'), (error: CofferError) => {
    assert.equal(error.details['procedure'], 'domain-lookup-by-name');
    assert.match(String(error.details['said']), /nobody/);
    return true;
  });
});

test('the guest is frozen and thawed by its agent', async () => {
  await connection.agentResponseTimeout(mini, 5);
  assert.equal(await connection.freeze(mini), 1);
  assert.equal(await connection.thaw(mini), 1);
  assert.equal(await connection.thaw(mini), 0);
  assert.equal(await connection.freeze(mini, ['/']), 1);
  assert.equal(await connection.thaw(mini), 1);
});

test('the agent tells about the guest', async () => {
  assert.deepEqual(await connection.fsInfo(mini), [
    { mountpoint: '/', name: 'vda', type: 'ext4', disks: ['vda'] },
  ]);
  const info = await connection.guestInfo(mini);
  assert.equal(info.get('hostname'), 'mini');
  assert.equal(typeof info.get('fs.0.total-bytes'), 'number');
});

test('a backup begins with a checkpoint, serves the disk, and ends by abort', async () => {
  const folder = site.makeFolder('backup');
  const socket = join(folder, 'nbd');
  await connection.backupBegin(mini, backupXml(folder), checkpointXml('one'));
  assert.ok(statSync(socket).isSocket());
  assert.match(await connection.backupXml(mini), /<domainbackup mode='pull'/);
  const stats = await connection.jobStats(mini);
  assert.equal(stats.type, 'unbounded');
  assert.equal(stats.values.get('disk_temp_total'), 64 * MIB);
  const ended = await eventAfter('jobCompleted', () => connection.abortJob(mini));
  assert.equal(ended.domain.uuid, mini.uuid);
  assert.equal(ended.values.get('success'), true);
  assert.equal((await connection.jobStats(mini)).type, 'none');
  assert.deepEqual(await connection.checkpoints(mini), [{ name: 'one', parent: undefined }]);
});

test('checkpoints are listed with their parents, described, redefined and deleted', async () => {
  for (const name of ['two', 'three', 'four']) {
    await connection.checkpointCreate(mini, checkpointXml(name));
  }
  assert.deepEqual(await connection.checkpoints(mini), [
    { name: 'one', parent: undefined },
    { name: 'two', parent: 'one' },
    { name: 'three', parent: 'two' },
    { name: 'four', parent: 'three' },
  ]);
  await connection.checkpointDelete(mini, 'four');
  await connection.checkpointDelete(mini, 'three');
  const xml = await connection.checkpointXml(mini, 'two');
  assert.match(xml, /<name>two<\/name>/);
  await connection.checkpointDelete(mini, 'two', { metadataOnly: true });
  await connection.checkpointCreate(mini, xml, { redefine: true, validate: true });
  await connection.checkpointDelete(mini, 'two');
  assert.deepEqual(await connection.checkpoints(mini), [{ name: 'one', parent: undefined }]);
});

test('a missing bitmap is told by its number', async () => {
  const command = (execute: string, args: object): string =>
    JSON.stringify({ execute, arguments: args });
  const answer = await connection.monitorCommand(mini, command('query-block', {}));
  const { return: devices } = JSON.parse(answer) as {
    return: { inserted: { 'node-name': string } }[];
  };
  const bitmap = { node: devices[0]!.inserted['node-name'], name: 'one' };
  await connection.monitorCommand(mini, command('block-dirty-bitmap-remove', bitmap));
  const folder = site.makeFolder('backup-2');
  const begin = connection.backupBegin(mini, backupXml(folder, 'one'));
  assert.deepEqual(await failureOf(begin), ['libvirt-failed', 109]);
  await connection.checkpointDelete(mini, 'one', { metadataOnly: true });
});

test('disks tell their sizes and what was read and written', async () => {
  const info = await connection.blockInfo(mini, 'vda');
  assert.equal(info.capacityBytes, 64 * MIB);
  assert.ok(info.physicalBytes > MIB && info.allocationBytes > MIB);
  const stats = await connection.blockStats(mini, 'vda');
  assert.ok(stats.readBytes > MIB && stats.readCount > 0 && stats.writeBytes > 0);
  assert.equal(await connection.blockJobInfo(mini, 'vda'), undefined);
});

test('a machine is paused and goes on, and its events say so', async () => {
  const isOfMini = ({ domain }: { domain: Domain }): boolean => domain.name === 'mini';
  const paused = await eventAfter('lifecycle', () => connection.suspend(mini), isOfMini);
  assert.equal(paused.change, 'suspended');
  assert.deepEqual(await connection.state(mini), { state: 'paused', reason: 1 });
  const resumed = await eventAfter('lifecycle', () => connection.resume(mini), isOfMini);
  assert.equal(resumed.change, 'resumed');
});

test('a machine is started paused, seen, moved to another disk, and ended', async () => {
  const video = `<video><model type='vga'/></video></devices>`;
  await connection.define((await connection.xml(mute)).replace('</devices>', video));
  const running = await connection.create(mute, { paused: true });
  assert.equal((await connection.state(running)).state, 'paused');
  assert.deepEqual(await failureOf(connection.freeze(running)), ['libvirt-failed', 55]);

  // Several, because the answer and the bytes are sent by two threads.
  for (let count = 0; count < 10; count++) {
    const { mime, bytes } = await connection.screenshot(running);
    const beginning = bytes.toString('latin1', 0, 4);
    assert.ok(mime === 'image/png' ? beginning === '\x89PNG' : beginning.startsWith('P6'), mime);
  }

  const path = join(site.makeFolder('moved'), 'disk.qcow2');
  const target = `<disk type='file'><driver type='qcow2'/><source file='${path}'/></disk>`;
  const { transientJob } = BLOCK_COPY;
  const ready = await eventAfter(
    'blockJob2',
    () => connection.blockCopy(running, 'vda', target, transientJob),
    ({ status }) => status === 'ready',
  );
  assert.equal(`${ready.disk} ${ready.type}`, 'vda copy');
  const job = await connection.blockJobInfo(running, 'vda');
  assert.ok(job && job.total > 0 && job.done === job.total);
  await eventAfter(
    'blockJob2',
    () => connection.blockJobAbort(running, 'vda', { pivot: true }),
    ({ status }) => status === 'completed',
  );
  assert.ok((await connection.xml(running)).includes(path));
  await connection.resume(running);
  assert.deepEqual(await failureOf(connection.freeze(running)), ['agent-unavailable', 74]);
  await connection.destroy(running);
  assert.equal((await connection.state(running)).state, 'shutoff');
});

test('a machine is forgotten with what belongs to it', async () => {
  await connection.undefine(mute, {
    checkpointsMetadata: true,
    snapshotsMetadata: true,
    managedSave: true,
    nvram: true,
  });
  assert.deepEqual(await failureOf(connection.domainByName('mute')), ['vm-not-found', 42]);
});

test('many calls at once are all answered', async () => {
  const names = await Promise.all(Array.from({ length: 50 }, () => connection.hostname()));
  assert.equal(new Set(names).size, 1);
});

test('an idle connection is kept alive by the daemon', async () => {
  // Without its answers the connection would end within seven intervals.
  const idle = await openLibvirt(site.uri, { keepaliveIntervalMs: 400 });
  await systemClock.sleep(10 * 400);
  assert.ok(!idle.ended.aborted);
  await idle.close();
});

test('libvirt is reached by TCP', async () => {
  const path = join(site.folder, 'run/libvirt/libvirt-sock');
  const server = createServer((socket) => {
    const daemon = connect(path);
    socket.on('close', () => daemon.destroy());
    socket.pipe(daemon).pipe(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const remote = await openLibvirt(`qemu+tcp://127.0.0.1:${port}/session`);
  assert.equal((await remote.domainByName('mini')).uuid, mini.uuid);
  await remote.close();
  server.close();
  await once(server, 'close');
  const refused = openLibvirt(`qemu+tcp://127.0.0.1:${port}/session`);
  assert.deepEqual(await failureOf(refused), ['libvirt-unreachable', undefined]);
});

test('over ssh, libvirt is reached by its own program', async () => {
  const bin = site.makeFolder('bin');
  const putSsh = (text: string): void => {
    writeFileSync(join(bin, 'ssh'), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, 'ssh'), 0o755);
  };
  const { PATH } = process.env;
  process.env['PATH'] = `${bin}:${PATH}`;
  try {
    // Stands for the network only: the remote command runs as it would there.
    putSsh(`for last in "$@"; do :; done; exec ${site.asUser('sh', '-c', '"$last"').join(' ')}`);
    const remote = await openLibvirt('qemu+ssh://user@host/session');
    assert.equal((await remote.domainByName('mini')).uuid, mini.uuid);
    await remote.close();
    putSsh('echo no route >&2; exit 255');
    await assert.rejects(openLibvirt('qemu+ssh://host/session'), (error: CofferError) => {
      assert.equal(error.code, 'libvirt-unreachable');
      assert.equal(error.details['said'], 'no route');
      return true;
    });
  } finally {
    process.env['PATH'] = PATH;
  }
});

test('the session of an environment is found without naming its socket', async () => {
  const environment = { XDG_RUNTIME_DIR: join(site.folder, 'run') };
  const other = await openLibvirt('qemu:///session', { environment });
  assert.equal((await other.domainByName('mini')).uuid, mini.uuid);
  await other.close();
  assert.ok(other.ended.aborted);
  assert.deepEqual(await failureOf(other.hostname()), ['libvirt-unreachable', undefined]);
});

test('an agent that hangs is unavailable after the time it was given', async () => {
  await connection.agentResponseTimeout(mini, 1);
  await guestRun('sleep 2; kill -STOP $(pidof qemu-ga)');
  // Until the signal is there, it answers.
  const hangs = async (): Promise<void> => {
    for (;;) await connection.fsInfo(mini);
  };
  assert.deepEqual(await failureOf(hangs()), ['agent-unavailable', 86]);
});

test('when the daemon dies calls fail, machines go on, and another connection sees them', async () => {
  assert.ok(!connection.ended.aborted);
  const ended = once(connection.ended, 'abort');
  await site.killDaemon();
  await ended;
  assert.ok(isCofferError(connection.ended.reason, 'libvirt-unreachable'));
  assert.deepEqual(await failureOf(connection.hostname()), ['libvirt-unreachable', undefined]);
  assert.deepEqual(await failureOf(site.open()), ['libvirt-unreachable', undefined]);
  await connection.close();
  await site.startDaemon();
  connection = await site.open();
  assert.equal((await connection.state(mini)).state, 'running');
});

test('a site that is closed leaves nothing', async () => {
  const other = await LibvirtSite.start();
  assert.ok(existsSync(other.folder));
  const pid = readFileSync(join(other.folder, 'run/libvirtd.pid'), 'utf8').trim();
  await other.close();
  assert.ok(!existsSync(other.folder));
  assert.ok(!existsSync(`/proc/${pid}`));
});

function backupXml(folder: string, incremental?: string): string {
  return `<domainbackup mode='pull'>
    ${incremental === undefined ? '' : `<incremental>${incremental}</incremental>`}
    <server transport='unix' socket='${join(folder, 'nbd')}'/>
    <disks><disk name='vda' backup='yes' type='file'>
      <driver type='qcow2'/><scratch file='${join(folder, 'scratch.qcow2')}'/>
    </disk></disks>
  </domainbackup>`;
}

function checkpointXml(name: string): string {
  const disks = `<disks><disk name='vda' checkpoint='bitmap'/></disks>`;
  return `<domaincheckpoint><name>${name}</name>${disks}</domaincheckpoint>`;
}
