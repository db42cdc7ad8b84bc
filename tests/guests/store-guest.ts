/**
 * A guest that runs the contract of stores on file systems that the kernel of this host may not have:
 * Debian's cloud kernel, busybox, and our Node with the rooms that a store needs, all in memory.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { kernelVersion, librariesOf, modulePaths } from './mini-guest.ts';

/** A volume, and how the guest mounts it. */
export interface StoreVolume {
  readonly image: string;
  readonly type: 'vfat' | 'exfat';
}

const MODULES = ['virtio_pci', 'virtio_blk', 'vfat', 'nls_cp437', 'nls_ascii', 'nls_utf8', 'exfat'];
const APPLETS = ['sh', 'mount', 'insmod', 'poweroff', 'echo'];
const BUSYBOX = '/bin/busybox';
const ROOT = join(import.meta.dirname, '../..');
/** What `@coffer/base` needs from outside. */
const LIBRARIES = ['koffi', '@koromix', '@napi-rs'];
const GUEST_TIMEOUT_MS = 600_000;

/** What the guest has said, when it is off. Each volume begins with `VOLUME` and its type. */
export async function runStoreContract(
  folder: string,
  volumes: readonly StoreVolume[],
): Promise<string> {
  const initrd = buildInitrd(folder, volumes);
  const [console, version] = [join(folder, 'console'), kernelVersion()];
  const drives = volumes.flatMap(({ image }) => ['-drive', `file=${image},format=raw,if=virtio`]);
  const machine = ['-machine', 'pc,accel=tcg', '-cpu', 'max', '-smp', '2', '-m', '1536'];
  const quiet = ['-nodefaults', '-display', 'none', '-no-reboot', '-serial', `file:${console}`];
  const kernel = ['-kernel', `/boot/vmlinuz-${version}`, '-initrd', initrd];
  const options = ['-append', 'console=ttyS0 quiet rdinit=/init panic=1'];
  const guest = spawn(
    'setpriv',
    [
      ['--pdeathsig', 'KILL', 'qemu-system-x86_64'],
      [...machine, ...quiet, ...kernel, ...options, ...drives],
    ].flat(),
    { stdio: ['ignore', 'ignore', 'inherit'], timeout: GUEST_TIMEOUT_MS, killSignal: 'SIGKILL' },
  );
  await once(guest, 'exit');
  return readFileSync(console, 'utf8');
}

function buildInitrd(folder: string, volumes: readonly StoreVolume[]): string {
  const [root, target] = [join(folder, 'initrd'), join(folder, 'initrd.cpio')];
  for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp', 'mods', 'mnt']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  copyFileSync(BUSYBOX, join(root, 'bin/busybox'));
  for (const name of APPLETS) symlinkSync('busybox', join(root, 'bin', name));
  for (const [index, path] of modulePaths(kernelVersion(), MODULES).entries()) {
    copyFileSync(path, join(root, 'mods', `${String(index).padStart(2, '0')}-${basename(path)}`));
  }
  copyProgram(root);
  for (const { type } of volumes) mkdirSync(join(root, 'mnt', type));
  writeFileSync(join(root, 'init'), initOf(volumes), { mode: 0o755 });
  const pack = `cd "$1" && find . | cpio -o -H newc --quiet -R 0:0 > "$2"`;
  execFileSync('sh', ['-c', pack, 'sh', root, target]);
  return target;
}

function copyProgram(root: string): void {
  const app = join(root, 'app');
  mkdirSync(join(app, 'node_modules/@coffer'), { recursive: true });
  for (const room of ['base', 'storage']) {
    cpSync(join(ROOT, 'packages', room), join(app, 'packages', room), { recursive: true });
    symlinkSync(`../../packages/${room}`, join(app, 'node_modules/@coffer', room));
  }
  const addons = LIBRARIES.flatMap((library) => {
    const target = join(app, 'node_modules', library);
    cpSync(join(ROOT, 'node_modules', library), target, { recursive: true, dereference: true });
    return addonsIn(target);
  });
  copyFileSync(process.execPath, join(root, 'bin/node'));
  for (const library of [process.execPath, ...addons].flatMap(librariesOf)) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    copyFileSync(library, join(root, library));
  }
  writeFileSync(join(app, 'contract.test.ts'), CONTRACT);
}

function addonsIn(folder: string): string[] {
  const found = execFileSync('find', ['-L', folder, '-name', '*.node'], { encoding: 'utf8' });
  return found.split('\n').filter((path) => path !== '');
}

const CONTRACT = `
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';
import { objectStoreContract } from '@coffer/storage/testing/contract.ts';
const folder = process.env.FOLDER;
objectStoreContract(folder, () => openFilesystemStore(folder + '/a/b', { create: true }), { listedCount: 200 });
`;

function initOf(volumes: readonly StoreVolume[]): string {
  const runs = volumes.map(({ type }, index) => {
    const device = `/dev/vd${String.fromCharCode('a'.charCodeAt(0) + index)}`;
    const run = 'node --disable-warning=ExperimentalWarning --test-reporter=spec contract.test.ts';
    return `echo VOLUME ${type}; mount -t ${type} ${device} /mnt/${type} && FOLDER=/mnt/${type} ${run}`;
  });
  return `#!/bin/sh
export PATH=/bin HOME=/tmp
mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys; mount -t tmpfs t /tmp
for m in /mods/*.ko; do insmod $m; done
cd /app
${runs.join('\n')}
poweroff -f
`;
}
