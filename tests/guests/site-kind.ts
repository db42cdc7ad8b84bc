/**
 * The two ways in which libvirt runs: as a session of one user, and as the system's own, which gives
 * files to the user that QEMU runs as. What they differ in for a site.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface SiteKind {
  /** Of the URI of libvirt. */
  readonly path: 'session' | 'system';
  /** A command in the surroundings of the daemon, as its user. */
  command(folder: string, command: readonly string[]): string[];
  /** Gives files to the user of the site, with what is below them. */
  own(path: string): void;
  /** Makes what the daemon needs. */
  prepare(folder: string): void;
  /** What libvirt has found out about QEMU, below the folder of the site. */
  readonly capabilities: string;
  /** Where it writes the process ids of its machines, below the folder of the site. */
  readonly pidFiles: string;
}

/** Root does not run sessions; this user exists everywhere and owns nothing. */
const NOBODY = 65_534;
const IS_ROOT = process.getuid?.() === 0;

/** Otherwise libvirt starts a daemon for logs, which would stay. */
const LOGS_BY_ITSELF = 'stdio_handler = "file"\n';

export const SESSION: SiteKind = {
  path: 'session',
  command: (folder, command) => {
    const user = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups'];
    const environment = [
      `PATH=${process.env['PATH']}:/usr/sbin:/sbin`,
      `HOME=${folder}/home`,
      `XDG_RUNTIME_DIR=${folder}/run`,
    ];
    return [...(IS_ROOT ? ['setpriv', ...user] : []), 'env', '-i', ...environment, ...command];
  },
  own: (path) => {
    if (IS_ROOT) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, path]);
  },
  prepare: (folder) => {
    const config = join(folder, 'home/.config/libvirt');
    for (const path of [config, join(folder, 'run')]) mkdirSync(path, { recursive: true });
    writeFileSync(join(config, 'qemu.conf'), LOGS_BY_ITSELF);
    for (const path of ['home', 'run']) SESSION.own(join(folder, path));
  },
  capabilities: 'home/.cache/libvirt/qemu/cache/capabilities',
  pidFiles: 'run/libvirt/qemu/run',
};

/** Folders of the system that this daemon alone has others for, by those of the site. */
const PRIVATE = {
  etc: '/etc/libvirt',
  lib: '/var/lib/libvirt',
  'run/libvirt': '/run/libvirt',
  log: '/var/log/libvirt',
  cache: '/var/cache/libvirt',
};

/** Needs root: QEMU runs as a user of its own (Debian: libvirt-daemon-system). */
export const SYSTEM: SiteKind = {
  path: 'system',
  command: (folder, command) => {
    const mounts = Object.entries(PRIVATE).map(
      ([name, path]) => `mkdir -p ${path} && mount --bind ${folder}/${name} ${path}`,
    );
    const script = ['mount --make-rprivate /', ...mounts, 'exec "$@"'].join(' && ');
    return ['unshare', '--mount', 'sh', '-c', script, 'sh', ...command];
  },
  own: () => {
    // Libvirt gives each file to QEMU when a machine starts.
  },
  prepare: (folder) => {
    for (const name of Object.keys(PRIVATE)) mkdirSync(join(folder, name), { recursive: true });
    // Machines of two systems would be in control groups of one name.
    const config = `${LOGS_BY_ITSELF}cgroup_controllers = [ ]\n`;
    writeFileSync(join(folder, 'etc/qemu.conf'), config);
    writeFileSync(join(folder, 'etc/libvirtd.conf'), '');
  },
  capabilities: 'cache/qemu/capabilities',
  pidFiles: 'run/libvirt/qemu',
};
