/**
 * A guest for tests, small enough to boot in seconds under emulation: Debian's cloud kernel, busybox
 * and the QEMU guest agent on a real ext4 root. It is built from installed Debian packages in about
 * two seconds, without root's rights, without mounting anything.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  globSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

const BUSYBOX = '/bin/busybox';
const AGENT = '/usr/sbin/qemu-ga';
const GRUB = '/usr/lib/grub/i386-pc';
const SECTOR_BYTES = 512;
/** Where GRUB's core and the root partition begin, in sectors. */
const CORE_SECTOR = 2048;
const ROOT_SECTOR = 4096;
const MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio_console',
  'virtio_net',
  'virtio_scsi',
  'sd_mod',
  'button',
];

export interface MiniGuest {
  readonly kernel: string;
  readonly initrd: string;
  /** The folder that its root file system is made from. */
  readonly root: string;
}

/** Builds what all guests share into a folder. */
export function buildMiniGuest(folder: string): MiniGuest {
  const version = kernelVersion();
  const [root, initrd] = [join(folder, 'root'), join(folder, 'initrd.gz')];
  buildRoot(root);
  buildInitrd(join(folder, 'initrd'), initrd, version);
  return { kernel: `/boot/vmlinuz-${version}`, initrd, root };
}

/** The version of the newest cloud kernel that is installed; others have no drivers for QEMU inside. */
export function kernelVersion(): string {
  const kernels = globSync('/boot/vmlinuz-*cloud*').sort();
  const newest = kernels.at(-1);
  if (newest === undefined) throw new Error('no kernel: apt-get install linux-image-cloud-amd64');
  return basename(newest).replace('vmlinuz-', '');
}

/** Writes a disk that boots by itself: GPT, GRUB for BIOS, and the root on the second partition. */
export function writeBootableDisk(guest: MiniGuest, path: string, sizeMiB: number): void {
  const work = `${path}.work`;
  const root = join(work, 'root');
  mkdirSync(work);
  cpSync(guest.root, root, { recursive: true, verbatimSymlinks: true });
  mkdirSync(join(root, 'boot/grub'), { recursive: true });
  copyFileSync(guest.kernel, join(root, 'boot/vmlinuz'));
  copyFileSync(guest.initrd, join(root, 'boot/initrd'));
  writeFileSync(join(root, 'boot/grub/grub.cfg'), GRUB_CONFIG);
  run('truncate', '-s', `${sizeMiB}M`, path);
  const partitions = ['-n1:2048:4095', '-t1:ef02', '-n2:4096:0', '-t2:8300'];
  run('sgdisk', ...partitions, path);
  // The last MiB holds the backup of the partition table.
  const rootKiB = sizeMiB * 1024 - (ROOT_SECTOR * SECTOR_BYTES) / 1024 - 1024;
  const offset = `offset=${ROOT_SECTOR * SECTOR_BYTES},root_owner=0:0`;
  run(
    'mke2fs',
    '-q',
    '-F',
    '-t',
    'ext4',
    '-E',
    offset,
    '-d',
    root,
    '-L',
    'root',
    path,
    `${rootKiB}k`,
  );
  writeFileSync(join(work, 'early.cfg'), GRUB_EARLY);
  const core = join(work, 'core.img');
  const modules = 'biosdisk part_gpt ext2 linux normal configfile serial terminal echo'.split(' ');
  const prefix = '(hd0,gpt2)/boot/grub';
  const early = ['-c', join(work, 'early.cfg'), '-p', prefix];
  run('grub-mkimage', '-O', 'i386-pc', ...early, '-o', core, ...modules);
  installGrub(path, readFileSync(join(GRUB, 'boot.img')), readFileSync(core));
  run('rm', '-r', work);
}

/** Puts GRUB's first sector and its core at fixed places, as grub-bios-setup does. */
function installGrub(path: string, boot: Buffer, core: Buffer): void {
  boot.writeBigUInt64LE(BigInt(CORE_SECTOR), 0x5c);
  // Two no-operations: it boots from the drive that it was loaded from.
  boot.writeUInt16LE(0x9090, 0x66);
  core.writeBigUInt64LE(BigInt(CORE_SECTOR + 1), 0x1f4);
  core.writeUInt16LE(Math.ceil(core.length / SECTOR_BYTES) - 1, 0x1fc);
  core.writeUInt16LE(0x820, 0x1fe);
  const disk = openSync(path, 'r+');
  writeSync(disk, boot, 0, 440, 0);
  writeSync(disk, core, 0, core.length, CORE_SECTOR * SECTOR_BYTES);
  closeSync(disk);
}

function buildInitrd(folder: string, target: string, version: string): void {
  for (const name of ['bin', 'dev', 'proc', 'sys', 'new', 'mods']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  copyFileSync(BUSYBOX, join(folder, 'bin/busybox'));
  for (const name of [
    'sh',
    'mount',
    'insmod',
    'switch_root',
    'mkdir',
    'ls',
    'cat',
    'sleep',
    'echo',
  ]) {
    symlinkSync('busybox', join(folder, 'bin', name));
  }
  modulePaths(version, MODULES).forEach((path, index) => {
    const number = String(index).padStart(2, '0');
    copyFileSync(path, join(folder, 'mods', `${number}-${basename(path)}`));
  });
  writeExecutable(join(folder, 'init'), INIT);
  const pack = `cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | gzip -1 > "$2"`;
  run('sh', '-c', pack, 'sh', folder, target);
}

/** In the order in which they have to be loaded; what is built into the kernel is not among them. */
export function modulePaths(version: string, modules: readonly string[]): string[] {
  const paths = new Set<string>();
  for (const module of modules) {
    const output = execFileSync('/sbin/modprobe', ['-S', version, '-D', module], {
      encoding: 'utf8',
    });
    for (const [, path] of output.matchAll(/^insmod (\S+)/gm)) paths.add(path!);
  }
  return [...paths];
}

function buildRoot(root: string): void {
  const folders =
    'bin sbin dev proc sys etc/qemu/fsfreeze-hook.d run tmp root lib64 usr var/log data lib/x86_64-linux-gnu';
  for (const name of folders.split(' ')) mkdirSync(join(root, name), { recursive: true });
  copyFileSync(BUSYBOX, join(root, 'bin/busybox'));
  const applets = execFileSync(BUSYBOX, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  for (const name of applets.filter((applet) => applet !== 'busybox')) {
    symlinkSync('busybox', join(root, 'bin', name));
  }
  symlinkSync('../bin/busybox', join(root, 'sbin/init'));
  symlinkSync('../bin', join(root, 'usr/bin'));
  copyFileSync(AGENT, join(root, 'sbin/qemu-ga'));
  for (const library of librariesOf(AGENT)) {
    const folder = basename(library).startsWith('ld-linux') ? 'lib64' : 'lib/x86_64-linux-gnu';
    copyFileSync(library, join(root, folder, basename(library)));
  }
  writeExecutable(join(root, 'sbin/shutdown'), SHUTDOWN);
  writeExecutable(join(root, 'etc/rc'), START);
  writeExecutable(join(root, 'etc/qemu/fsfreeze-hook'), FREEZE_HOOK);
  writeFileSync(join(root, 'etc/inittab'), INITTAB);
  writeFileSync(join(root, 'etc/passwd'), 'root::0:0:root:/root:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
}

export function librariesOf(program: string): string[] {
  const output = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...output.matchAll(/(\/\S+\.so\S*)/g)].map(([, path]) => path!);
}

function writeExecutable(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: ['ignore', 'pipe', 'inherit'], env: WITH_SYSTEM_TOOLS });
}

const WITH_SYSTEM_TOOLS = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` };

const INIT = `#!/bin/sh
mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys
for m in /mods/*.ko; do insmod $m; done
R=/dev/vda
for a in $(cat /proc/cmdline); do case $a in root=*) R=\${a#root=};; esac; done
n=0; while [ ! -b $R ] && [ $n -lt 3000 ]; do sleep 0.1; n=$((n+1)); done
mount -t ext4 $R /new || exec sh
mount --move /dev /new/dev; mount --move /proc /new/proc; mount --move /sys /new/sys
exec switch_root /new /sbin/init
`;

const START = `#!/bin/sh
mount -o remount,rw /
mount -t tmpfs t /run; mkdir -p /dev/pts; mount -t devpts p /dev/pts
p=$(cd /sys/class/virtio-ports; grep -l org.qemu.guest_agent.0 */name | cut -d/ -f1)
[ -n "$p" ] && [ "$p" != vport0p1 ] && ln -s $p /dev/vport0p1
for b in /dev/vd[b-z]; do
  [ -b $b ] && mkdir -p /data/\${b#/dev/} && mount -t ext4 $b /data/\${b#/dev/} 2>/dev/null
done
ip link set lo up; ip link set eth0 up 2>/dev/null
n=$(cat /root/boots 2>/dev/null || echo 0); echo $((n+1)) > /root/boots
hostname mini
echo "MINI-UP boots=$((n+1))" > /dev/ttyS0
`;

const INITTAB = `::sysinit:/etc/rc
ttyS0::respawn:-/bin/sh
::respawn:/sbin/qemu-ga -m virtio-serial -p /dev/vport0p1 -F/etc/qemu/fsfreeze-hook -l /var/log/qga.log -t /run
::ctrlaltdel:/bin/reboot
::shutdown:/bin/umount -a -r
`;

const SHUTDOWN = `#!/bin/sh
case "$*" in
  *-r*) exec /bin/busybox reboot;;
  *-H*) exec /bin/busybox halt;;
  *) exec /bin/busybox poweroff;;
esac
`;

const FREEZE_HOOK = `#!/bin/sh
for f in /etc/qemu/fsfreeze-hook.d/*; do [ -x $f ] || continue; $f $1 || exit $?; done
`;

const GRUB_EARLY = `set prefix=(hd0,gpt2)/boot/grub
set root=(hd0,gpt2)
configfile /boot/grub/grub.cfg
`;

const GRUB_CONFIG = `serial --unit=0; terminal_output serial; set timeout=0
menuentry linux { linux /boot/vmlinuz root=/dev/vda2 console=ttyS0 quiet; initrd /boot/initrd; }
`;
