/**
 * A libvirt of its own for a test: a daemon in a folder, of a session without rights or the system's
 * own, beside whatever else runs on the machine. Two of them are two sites, which may have machines of
 * one name.
 *
 * Invariant: no process outlives the test. A watcher of each site waits for the end of its input, which
 * comes when the site is closed or the test dies; then it ends all that names the folder of the site,
 * the daemon and its QEMUs among it, and removes the folder.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { systemClock } from '@coffer/base';
import {
  type Domain,
  type LibvirtConnection,
  openLibvirt,
} from '@coffer/workloads/libvirt/connection.ts';
import { type MiniGuest } from './mini-guest.ts';
import { SESSION, type SiteKind } from './site-kind.ts';

const START_TIMEOUT_MS = 1_800_000;
const AGENT_TIMEOUT_MS = 1_800_000;
const POLL_MS = 50;

/**
 * What libvirt finds out about QEMU takes it seconds, and it checks what it reads here; so the sites of
 * all tests share it.
 */
const KNOWN_CAPABILITIES = join(import.meta.dirname, '../../node_modules/.cache/libvirt');

/** Ends the daemon and its QEMUs with the test, however that ends, and removes the folder. */
const CLEAN_UP_AFTER = join(import.meta.dirname, '../../scripts/clean-up-after.sh');

/** Not the folder of the test run: paths of sockets may have 107 characters, and libvirt adds many. */
const SHORT_FOLDER = '/tmp';

export class LibvirtSite {
  readonly folder: string;
  /** For `openLibvirt`, and for `virsh -c`. */
  readonly uri: string;
  readonly #kind: SiteKind;
  readonly #watcher: ChildProcess;
  #daemon: ChildProcess | undefined;

  private constructor(folder: string, kind: SiteKind) {
    this.folder = folder;
    this.uri = `qemu+unix:///${kind.path}?socket=${folder}/run/libvirt/libvirt-sock`;
    this.#kind = kind;
    // Without what names the folder of the test run: who cleans that up would end it.
    const env = { PATH: `${process.env['PATH']}:/usr/sbin:/sbin` };
    const stdio = ['pipe', 'ignore', 'ignore'] as const;
    this.#watcher = spawn('sh', [CLEAN_UP_AFTER], { env, stdio: [...stdio], detached: true });
    this.#watcher.stdin?.write(`${folder}\n`);
  }

  static async start(kind: SiteKind = SESSION): Promise<LibvirtSite> {
    const folder = mkdtempSync(join(SHORT_FOLDER, 'lv-'));
    chmodSync(folder, 0o755);
    const site = new LibvirtSite(folder, kind);
    try {
      kind.prepare(folder);
      if (existsSync(site.#knownCapabilities)) {
        cpSync(site.#knownCapabilities, site.#capabilities, { recursive: true });
        // With the folders above it, which were made with it.
        site.own(join(folder, kind.capabilities.split('/', 1)[0]!));
      }
      await site.startDaemon();
      return site;
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  /** A new folder in which QEMU may write. */
  makeFolder(name: string): string {
    const path = join(this.folder, name);
    mkdirSync(path, { recursive: true });
    this.own(path);
    return path;
  }

  /** Gives a file or a folder, with what is in it, to the user of the site. */
  own(path: string): void {
    this.#kind.own(path);
  }

  /** A command as the user of the site runs it, in the surroundings of its daemon. */
  asUser(...command: string[]): string[] {
    return this.#kind.command(this.folder, command);
  }

  /** Of the QEMU of a machine that runs. */
  pidOf(name: string): number {
    const file = join(this.folder, this.#kind.pidFiles, `${name}.pid`);
    return Number.parseInt(readFileSync(file, 'utf8'), 10);
  }

  async open(): Promise<LibvirtConnection> {
    return await openLibvirt(this.uri);
  }

  /** After `killDaemon`: the machines are still there. */
  async startDaemon(): Promise<void> {
    const log = openSync(join(this.folder, 'libvirtd.log'), 'a');
    const [program, ...args] = this.asUser('libvirtd', '-p', `${this.folder}/run/libvirtd.pid`);
    const daemon = spawn(program!, args, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#daemon = daemon;
    const giveUpAt = systemClock.now() + START_TIMEOUT_MS;
    while (!(await isListening(join(this.folder, 'run/libvirt/libvirt-sock')))) {
      if (daemon.exitCode !== null || systemClock.now() > giveUpAt) {
        throw new Error(`libvirtd does not run:\n${this.log()}`);
      }
      await systemClock.sleep(POLL_MS);
    }
  }

  /** Ends the daemon as a crash would. QEMU goes on. */
  async killDaemon(): Promise<void> {
    await this.#endDaemon('SIGKILL');
  }

  /** Ends the daemon as an upgrade of its package would. QEMU goes on. */
  async stopDaemon(): Promise<void> {
    await this.#endDaemon('SIGTERM');
  }

  /** What the daemon said. */
  log(): string {
    return readFileSync(join(this.folder, 'libvirtd.log'), 'utf8');
  }

  /** Ends all that runs, and removes the folder. */
  async close(): Promise<void> {
    this.#keepCapabilities();
    const daemon = this.#daemon;
    const isRunning = daemon?.exitCode === null && daemon.signalCode === null;
    // The daemon is a child of the test: it is gone when the test has seen its end.
    const ended = [once(this.#watcher, 'exit'), ...(isRunning ? [once(daemon, 'exit')] : [])];
    this.#watcher.stdin?.end();
    await Promise.all(ended);
  }

  async #endDaemon(signal: NodeJS.Signals): Promise<void> {
    const daemon = this.#daemon;
    if (daemon?.exitCode !== null || daemon.signalCode !== null) return;
    const ended = once(daemon, 'exit');
    daemon.kill(signal);
    await ended;
  }

  get #capabilities(): string {
    return join(this.folder, this.#kind.capabilities);
  }

  get #knownCapabilities(): string {
    return `${KNOWN_CAPABILITIES}-${this.#kind.path}`;
  }

  #keepCapabilities(): void {
    const [found, known] = [this.#capabilities, this.#knownCapabilities];
    if (!existsSync(found) || existsSync(known)) return;
    const copy = `${known}.${process.pid}`;
    try {
      cpSync(found, copy, { recursive: true });
      execFileSync('chmod', ['-R', 'a+rX', copy]);
      renameSync(copy, known);
    } catch {
      // Another test was faster, or the checkout is not ours to write in; nothing is lost.
      rmSync(copy, { recursive: true, force: true });
    }
  }
}

async function isListening(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

export interface GuestOptions {
  readonly name: string;
  /** Files that exist; the first holds the root (`writeRootDisk`), or boots (`writeBootableDisk`). */
  readonly disks: readonly { readonly path: string; readonly format: 'raw' | 'qcow2' }[];
  /** The channel of the guest agent; by default it is there. */
  readonly agent?: boolean;
  readonly memoryMiB?: number;
  /** A screen to take pictures of; by default there is none. */
  readonly screen?: boolean;
  /** An emulated TPM; by default there is none. */
  readonly tpm?: boolean;
  /** By default `kernel`: the kernel of the guest is started directly, which is the fastest. */
  readonly boot?: 'kernel' | 'disk';
  /** UEFI: its code, and its variables, which libvirt copies for this machine. By default BIOS. */
  readonly firmware?: { readonly code: string; readonly variables: string; readonly nvram: string };
}

/** Makes the disk that `boot: 'kernel'` starts from, with the file system itself and no partitions. */
export function writeRootDisk(
  guest: MiniGuest,
  path: string,
  { format, sizeMiB }: { format: 'raw' | 'qcow2'; sizeMiB: number },
): void {
  const raw = format === 'raw' ? path : `${path}.raw`;
  const fileSystem = ['-q', '-F', '-t', 'ext4', '-E', 'root_owner=0:0', '-L', 'root'];
  execFileSync('/sbin/mke2fs', [...fileSystem, '-d', guest.root, raw, `${sizeMiB}M`]);
  if (format === 'raw') return;
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
  rmSync(raw);
}

/** Defines the mini guest as a machine of the site, which then owns the disks. */
export async function defineGuest(
  site: LibvirtSite,
  guest: MiniGuest,
  options: GuestOptions,
): Promise<Domain> {
  for (const { path } of options.disks) site.own(path);
  const connection = await site.open();
  try {
    return await connection.define(guestXml(site, guest, options));
  } finally {
    await connection.close();
  }
}

/** Emulated, because the kernel of the host need not have KVM. */
function guestXml(site: LibvirtSite, guest: MiniGuest, options: GuestOptions): string {
  const {
    name,
    disks,
    agent = true,
    screen = false,
    tpm = false,
    memoryMiB = 128,
    boot = 'kernel',
    firmware,
  } = options;
  const channel = `<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`;
  return `<domain type='qemu'>
  <name>${name}</name>
  <memory unit='MiB'>${memoryMiB}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='${firmware ? 'q35' : 'pc'}'>hvm</type>
    ${firmware ? firmwareXml(firmware) : ''}
    ${boot === 'kernel' ? kernelXml(site, guest) : ''}
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    ${disks.map(diskXml).join('\n    ')}
    <controller type='usb' model='none'/>
    <controller type='virtio-serial' index='0'/>
    <serial type='file'><source path='${consolePath(site, name)}'/><target port='0'/></serial>
    <console type='file'><target type='serial' port='0'/></console>
    ${agent ? channel : ''}
    ${tpm ? `<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>` : ''}
    ${screen ? `<video><model type='vga'/></video>` : ''}
    <memballoon model='none'/>
  </devices>
</domain>`;
}

function diskXml({ path, format }: GuestOptions['disks'][number], index: number): string {
  const target = `vd${String.fromCharCode('a'.charCodeAt(0) + index)}`;
  return `<disk type='file' device='disk'><driver name='qemu' type='${format}' discard='unmap'/><source file='${path}'/><target dev='${target}' bus='virtio'/></disk>`;
}

function firmwareXml({ code, variables, nvram }: NonNullable<GuestOptions['firmware']>): string {
  const loader = `<loader readonly='yes' type='pflash'>${code}</loader>`;
  return `${loader}<nvram template='${variables}'>${nvram}</nvram>`;
}

/** What guards a kernel against its users costs an emulated one a second of its start. */
const FAST_UNDER_EMULATION =
  'nokaslr mitigations=off no5lvl rodata=off audit=0 cryptomgr.notests noreplace-smp';

/** Where the user of the site can read them. */
function kernelXml(site: LibvirtSite, guest: MiniGuest): string {
  const folder = site.makeFolder('boot');
  const [kernel, initrd] = [join(folder, basename(guest.kernel)), join(folder, 'initrd')];
  if (!existsSync(kernel)) {
    copyFileSync(guest.kernel, kernel);
    copyFileSync(guest.initrd, initrd);
    site.own(folder);
  }
  const command = `console=ttyS0 quiet root=/dev/vda ${FAST_UNDER_EMULATION}`;
  return `<kernel>${kernel}</kernel><initrd>${initrd}</initrd><cmdline>${command}</cmdline>`;
}

/** What a guest wrote to its console. */
export function consolePath(site: LibvirtSite, name: string): string {
  return join(site.makeFolder('console'), name);
}

/** Resolves when the agent in the guest answers. */
export async function waitForAgent(connection: LibvirtConnection, domain: Domain): Promise<void> {
  const giveUpAt = systemClock.now() + AGENT_TIMEOUT_MS;
  for (;;) {
    try {
      await connection.agentCommand(domain, '{"execute":"guest-ping"}', 2);
      return;
    } catch (error) {
      if (systemClock.now() > giveUpAt) throw error;
      await systemClock.sleep(POLL_MS);
    }
  }
}
