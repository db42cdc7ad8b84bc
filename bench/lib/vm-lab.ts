// What the steps of the benchmark of machines share: a libvirt of its own, the guest, and the tools.
// All of it lies in the folder of the site, which a watcher removes even when the benchmark is killed.
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LibvirtSite, writeRootDisk } from '../../tests/guests/libvirt-site.ts';
import { buildMiniGuest, type MiniGuest } from '../../tests/guests/mini-guest.ts';
import { SiteGuest } from '../../tests/guests/site-guest.ts';
import { copyFiles } from './inputs.ts';
import { endMeasuring, type Measure } from './measure.ts';
import { addRow, type Report } from './report.ts';
import { CofferForVms, VirtnbdbackupForVms, type VmTool } from './vm-tools.ts';
import { addWriteLatency } from './write-latency.ts';

const MiB = 2 ** 20;
const SYSTEM_DISK_MIB = 2048;
const SYSTEM_DATA_BYTES = 190 * MiB;
const DATA_DISK_MIB = 4096;
const DATA_BYTES = 1110 * MiB;
/** The root of guests that hold nothing else. */
const BARE_DISK_MIB = 64;

export const CHANGED_MIB = 20;

export class VmLab {
  readonly site: LibvirtSite;
  readonly mini: MiniGuest;
  readonly coffer: CofferForVms;
  /** Undefined where it is not installed. */
  readonly peer: VmTool | undefined;
  readonly repeat: number;
  readonly report: Report;
  /** How long each backup of Coffer held the guest still. */
  readonly frozenMs: number[] = [];
  readonly #folder: string;
  readonly #images: string;
  readonly #guests: SiteGuest[] = [];

  private constructor(site: LibvirtSite, { repeat, report }: { repeat: number; report: Report }) {
    this.site = site;
    this.repeat = repeat;
    this.report = report;
    this.#folder = join(site.folder, 'bench');
    mkdirSync(this.#folder);
    this.#images = site.makeFolder('images');
    this.mini = buildMiniGuest(this.#folder);
    this.coffer = new CofferForVms(site, this.#folder);
    this.peer = VirtnbdbackupForVms.isInstalled() ? new VirtnbdbackupForVms(site) : undefined;
  }

  static async open(options: { repeat: number; report: Report }): Promise<VmLab> {
    const site = await LibvirtSite.start();
    try {
      return new VmLab(site, options);
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  get tools(): VmTool[] {
    return this.peer ? [this.coffer, this.peer] : [this.coffer];
  }

  /** The guest that is backed up: two disks with files of this machine, and what measures writes. */
  async startGuest(): Promise<SiteGuest> {
    const [system, data] = [this.image('system'), this.image('data')];
    const bareRoot = this.image('bare');
    writeRootDisk(this.mini, bareRoot, { format: 'qcow2', sizeMiB: BARE_DISK_MIB });
    addWriteLatency(this.mini.root);
    copyFiles(join(this.mini.root, 'srv'), SYSTEM_DATA_BYTES, 1);
    writeRootDisk(this.mini, system, { format: 'qcow2', sizeMiB: SYSTEM_DISK_MIB });
    const staging = join(this.#folder, 'staging');
    copyFiles(staging, DATA_BYTES, 2);
    const files = { ...this.mini, root: staging };
    writeRootDisk(files, data, { format: 'qcow2', sizeMiB: DATA_DISK_MIB });
    rmSync(staging, { recursive: true });
    return await this.start('bench', [system, data]);
  }

  /** Starts a guest of qcow2 disks. */
  async start(name: string, paths: string[]): Promise<SiteGuest> {
    const disks = paths.map((path) => ({ path, format: 'qcow2' as const }));
    const guest = await SiteGuest.define(this.site, this.mini, { name, disks });
    this.#guests.push(guest);
    await guest.start();
    return guest;
  }

  image(name: string): string {
    return join(this.#images, `${name}.qcow2`);
  }

  add(step: string, tool: string, taken: Measure, figures: Record<string, number | string>): void {
    addRow(this.report, { bench: 'vm', step, tool, cache: 'warm', measure: taken, figures });
  }

  /** Remembers how long a backup of Coffer held its guest still. */
  noteFreeze(taken: Measure): void {
    const { consistency } = JSON.parse(taken.stdout) as { consistency: { frozenMs: number } };
    this.frozenMs.push(consistency.frozenMs);
  }

  /** Ends all that runs, in whatever state, and removes all of it. */
  async close(): Promise<void> {
    endMeasuring();
    try {
      this.coffer.discardInstants();
      await Promise.all(this.#guests.map((guest) => guest.close()));
    } finally {
      endProcessesNaming(this.#folder);
      endProcessesNaming(join(this.site.folder, 'peer'));
      await this.site.close();
    }
  }
}

/** Kills what has a folder of this run in its command line. */
function endProcessesNaming(folder: string): void {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      if (words.includes(folder)) process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

/** Takes all checkpoints with their bitmaps away, whoever made them. */
export async function removeCheckpoints({ connection, domain }: SiteGuest): Promise<void> {
  const checkpoints = await connection.checkpoints(domain);
  // Parents come first, and one that has children cannot be removed.
  for (const { name } of checkpoints.toReversed()) await connection.checkpointDelete(domain, name);
}
