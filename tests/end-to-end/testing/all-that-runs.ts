/**
 * No test by itself: as a test file it starts one of everything that tests start, says so by a file,
 * and waits until it is interrupted (`interrupted-run.test.ts`).
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { nbdLab } from '@coffer/disk/nbd/testing/lab.ts';
import { createRawDisk } from '@coffer/disk/raw.ts';
import { startAzuriteServer } from '@coffer/storage/testing/azurite-server.ts';
import { startS3Server } from '@coffer/storage/testing/s3-server.ts';
import { eventually } from '../../guests/eventually.ts';
import { LibvirtSite, writeRootDisk } from '../../guests/libvirt-site.ts';
import { buildMiniGuest } from '../../guests/mini-guest.ts';
import { SiteGuest } from '../../guests/site-guest.ts';
import { ProtectedVm } from './protected-vm.ts';
import { Sandbox } from './sandbox.ts';

const MIB = 1024 * 1024;

test('everything runs until it is interrupted', async () => {
  const sandbox = await Sandbox.withRecoveryKey();
  const servers = Promise.all([startS3Server(), startAzuriteServer(), startNbdServers(sandbox)]);
  const site = await startMachines(sandbox);
  await mountAll(sandbox);
  await servers;
  say(site);
  await new Promise(() => {
    setInterval(() => {}, 60_000);
  });
});

async function startNbdServers(sandbox: Sandbox): Promise<void> {
  const image = sandbox.path('image');
  await (await createRawDisk(image, MIB)).close();
  const lab = nbdLab();
  const socket = lab.newPath();
  await lab.start('nbdkit', (pid) => ['-f', '-P', pid, '-U', socket, 'file', image]);
  await lab.start('qemu-nbd', (pid) => [
    '-t',
    '-f',
    'raw',
    `--pid-file=${pid}`,
    '-k',
    lab.newPath(),
    image,
  ]);
}

/** One that is captured and runs on, and one that runs from its point, with who keeps it. */
async function startMachines(sandbox: Sandbox): Promise<LibvirtSite> {
  const site = await LibvirtSite.start();
  const mini = buildMiniGuest(sandbox.folder);
  const path = `${site.makeFolder('images')}/web.qcow2`;
  writeRootDisk(mini, path, { format: 'qcow2', sizeMiB: 32 });
  const disks = [{ path, format: 'qcow2' }] as const;
  const guest = await SiteGuest.define(site, mini, { name: 'web', disks });
  const { point } = await new ProtectedVm(sandbox, guest).backUp();
  await guest.connection.create(guest.domain);
  const place = ['--folder', site.makeFolder('instant'), '--connect', site.uri];
  await sandbox.json(['restore', point, '--as', 'now', '--instant', ...place]);
  return site;
}

async function mountAll(sandbox: Sandbox): Promise<void> {
  const [files, memory] = [sandbox.path('files'), sandbox.path('with space')];
  mkdirSync(files);
  mkdirSync(memory);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', memory]);
  const { point } = await sandbox.json<{ point: string }>(['backup', sandbox.source({ a: 'a' })]);
  sandbox.start(['mount', point, files]);
  await eventually('the point is mounted', () => readdirSync(files).length > 0);
  execFileSync('losetup', ['-f', sandbox.path('image')]);
}

function say(site: LibvirtSite): void {
  const path = join(dirname(tmpdir()), 'runs');
  writeFileSync(`${path}.new`, site.folder);
  renameSync(`${path}.new`, path);
}
