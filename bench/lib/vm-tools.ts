// The programs that back up machines, as commands to measure. They take turns on one guest, and each
// takes the checkpoints of the other away before it begins: virtnbdbackup refuses to work beside any.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LibvirtSite } from '../../tests/guests/libvirt-site.ts';
import { type GuestDisk, SiteGuest } from '../../tests/guests/site-guest.ts';
import { type Command, measure } from './measure.ts';
import { firstLineOf, toolFolder } from './tool.ts';

export const PEER = 'virtnbdbackup';
const PROGRAM = fileURLToPath(new URL('../../coffer', import.meta.url));
/** Coffer ends so when it has findings: that a machine was cut off, for example. */
const WITH_FINDINGS = 3;

export interface VmTool {
  readonly name: string;
  /** The folder that holds all its points. */
  readonly stored: string;
  version(): string;
  /** Brings its code into memory, which is dropped with all else before a run. */
  warmUp(): void;
  /** Removes all points, so that the next one is the first. */
  begin(): Promise<void>;
  full(vm: string): Command;
  incremental(vm: string): Command;
  /** The newest point of a machine as a new one. */
  restore(vm: string, to: { name: string; folder: string }): Command;
  /** Where the disk of a restored machine lies. */
  restoredDisk(disk: GuestDisk, to: { name: string; folder: string }): Promise<GuestDisk>;
}

export class CofferForVms implements VmTool {
  readonly name = 'coffer';
  readonly stored: string;
  readonly #site: LibvirtSite;
  readonly #scratch: string;
  readonly #words: string[];
  readonly #env: Record<string, string>;

  constructor(site: LibvirtSite, folder: string) {
    const { repository, passphraseFile, cache } = toolFolder(folder, 'coffer');
    this.stored = repository;
    this.#site = site;
    this.#scratch = site.makeFolder('scratch');
    this.#words = [PROGRAM, '--repo', repository, '--passphrase-file', passphraseFile];
    const home = join(folder, 'coffer/home');
    // Temporary folders, too, or one would stay when a command is killed.
    const folders = { XDG_CACHE_HOME: cache, XDG_STATE_HOME: home, XDG_CONFIG_HOME: home };
    this.#env = { ...folders, TMPDIR: cache };
  }

  version(): string {
    return firstLineOf([PROGRAM, '--version']);
  }

  warmUp(): void {
    this.#now('vms', '--connect', this.#site.uri, '--json');
    this.#now('points', '--json');
  }

  async begin(): Promise<void> {
    rmSync(this.stored, { recursive: true, force: true });
    await measure(this.run('init'));
  }

  full(vm: string, ...more: string[]): Command {
    const place = ['--connect', this.#site.uri, '--scratch', this.#scratch];
    const command = this.run('backup', `vm:${vm}`, ...place, '--json', ...more);
    return { ...command, exitCodes: [0, WITH_FINDINGS] };
  }

  incremental(vm: string): Command {
    return this.full(vm);
  }

  restore(vm: string, to: { name: string; folder: string }, ...more: string[]): Command {
    const place = ['--as', to.name, '--folder', to.folder, '--connect', this.#site.uri];
    const command = this.run('restore', `vm:${vm}@latest`, ...place, '--json', ...more);
    return { ...command, exitCodes: [0, WITH_FINDINGS] };
  }

  async restoredDisk({ target }: GuestDisk, { name }: { name: string }): Promise<GuestDisk> {
    const machine = await SiteGuest.find(this.#site, name);
    const disks = await machine.disks();
    await machine.close();
    return disks.find((disk) => disk.target === target)!;
  }

  /** Ends all machines that run on points. Not measured, since it is needed after an interrupt, too. */
  discardInstants(): void {
    const list = JSON.parse(this.#now('instant', 'list', '--json')) as { vm: string }[];
    for (const { vm } of list) this.#now('instant', 'discard', vm, '--yes', '--json');
  }

  run(...words: string[]): Command {
    return { argv: [...this.#words, ...words], env: this.#env };
  }

  #now(...words: string[]): string {
    const [program, ...args] = this.run(...words).argv;
    return execFileSync(program!, args, {
      env: { ...process.env, ...this.#env },
      encoding: 'utf8',
    });
  }
}

/** Runs as the user of the site, whose QEMU makes its sockets and scratch files. */
export class VirtnbdbackupForVms implements VmTool {
  readonly name = PEER;
  readonly stored: string;
  readonly #site: LibvirtSite;
  readonly #work: string;

  constructor(site: LibvirtSite) {
    this.#site = site;
    this.#work = site.makeFolder('peer');
    this.stored = join(this.#work, 'points');
  }

  static isInstalled(): boolean {
    return spawnSync(PEER, ['--version'], { stdio: 'ignore' }).status === 0;
  }

  version(): string {
    return firstLineOf([PEER, '--version']);
  }

  warmUp(): void {
    this.version();
    firstLineOf(['virtnbdrestore', '--version']);
  }

  async begin(): Promise<void> {
    rmSync(this.stored, { recursive: true, force: true });
  }

  full(vm: string): Command {
    return this.#backup(vm, 'full');
  }

  incremental(vm: string): Command {
    return this.#backup(vm, 'inc');
  }

  restore(_vm: string, to: { name: string; folder: string }): Command {
    const as = ['--adjust-config', '--define', '--name', to.name];
    return this.#run('virtnbdrestore', ...as, '-i', this.stored, '-o', to.folder);
  }

  // The machine that it defines has the original of all disks but the last, so it is not asked.
  async restoredDisk(disk: GuestDisk, { folder }: { folder: string }): Promise<GuestDisk> {
    return { ...disk, path: join(folder, basename(disk.path)) };
  }

  #backup(vm: string, level: 'full' | 'inc'): Command {
    return this.#run(PEER, '-d', vm, '-l', level, '-z', '-S', this.#work, '-o', this.stored);
  }

  /** The URI is that of the session of its user; with another it asks for a password. */
  #run(program: string, ...words: string[]): Command {
    mkdirSync(this.#work, { recursive: true });
    const place = ['-U', 'qemu:///session', '-f', join(this.#work, 'nbd'), '-n'];
    const user = this.#site.asUser('env', `TMPDIR=${this.#work}`, program);
    return { argv: [...user, ...words, ...place] };
  }
}
