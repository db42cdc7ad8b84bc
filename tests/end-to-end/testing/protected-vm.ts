/** A live machine that Coffer protects, and what has to be true of each of its points. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { eventually } from '../../guests/eventually.ts';
import type { GuestDisk, SiteGuest } from '../../guests/site-guest.ts';
import { type Backup, type Outcome, outcomeOf, type Sandbox } from './sandbox.ts';

/** Opened without a lock, since QEMU has it. */
const UNLOCKED = '-U';

/** What a backup or a restore at this rate does goes on for seconds: long enough to be met in it. */
export const SLOW_RATE = '512K';

/** A backup that stands still while its job runs. */
export interface HeldBackup {
  /** Lets it go on; resolves with how it ended. */
  release(): Promise<Outcome>;
  /** Asks it to stop. */
  stop(): Promise<Outcome>;
  /** Ends it as a crash would. */
  kill(): Promise<Outcome>;
}

export class ProtectedVm {
  readonly guest: SiteGuest;
  readonly scratch: string;
  readonly #sandbox: Sandbox;

  constructor(sandbox: Sandbox, guest: SiteGuest, scratch = guest.site.makeFolder('scratch')) {
    this.#sandbox = sandbox;
    this.guest = guest;
    this.scratch = scratch;
  }

  /** The command that backs it up. */
  words(...more: readonly string[]): string[] {
    const { name, site } = this.guest;
    return ['backup', `vm:${name}`, '--connect', site.uri, '--scratch', this.scratch, ...more];
  }

  async backUp(...more: readonly string[]): Promise<Backup> {
    return await this.#sandbox.json<Backup>(this.words(...more));
  }

  /** Backs it up while it stands still, and compares the point with what the guest has written. */
  async assertPointIsCurrent(): Promise<Backup> {
    await this.guest.run('sync');
    await this.guest.suspend();
    try {
      const backup = await this.backUp('--consistency', 'crash');
      await this.assertPointHas(backup.point, await this.guest.disks());
      return backup;
    } finally {
      await this.guest.resume();
    }
  }

  /** The disks are in it as they are now. */
  async assertPointHas(point: string, disks: readonly GuestDisk[]): Promise<void> {
    const folder = this.#sandbox.path('current');
    rmSync(folder, { recursive: true, force: true });
    const named = disks.flatMap(({ target }) => ['--disk', target]);
    await this.#sandbox.done('restore', point, ...named, '--to', folder);
    for (const { target, path, format } of disks) {
      const restored = `${folder}/${target}.raw`;
      await qemuImg('compare', '-q', UNLOCKED, '-f', 'raw', '-F', format, restored, path);
    }
  }

  /** Starts a backup, and stops its process at the moment when its job begins. */
  async holdBackup(...more: readonly string[]): Promise<HeldBackup> {
    const child = this.#sandbox.start(this.words(...more, '--limit-rate', SLOW_RATE, '--json'));
    const outcome = outcomeOf(child);
    await eventually('the job begins', () => this.#hasSocket());
    child.kill('SIGSTOP');
    const { connection, domain } = this.guest;
    assert.equal((await connection.jobStats(domain)).type, 'unbounded', 'it is still under way');
    const end = async (...signals: readonly NodeJS.Signals[]): Promise<Outcome> => {
      for (const signal of signals) child.kill(signal);
      return await outcome;
    };
    return {
      release: () => end('SIGCONT'),
      stop: () => end('SIGTERM', 'SIGCONT'),
      kill: () => end('SIGKILL'),
    };
  }

  #hasSocket(): boolean {
    return readdirSync(this.scratch).some((name) => existsSync(`${this.scratch}/${name}/nbd`));
  }

  /** No scratch files, no job, no frozen guest, and nothing that tracks changes for nobody. */
  async assertNothingLeft(): Promise<void> {
    const { connection, domain } = this.guest;
    assert.deepEqual(readdirSync(this.scratch), []);
    assert.equal((await connection.jobStats(domain)).type, 'none');
    assert.equal(await this.guest.agent('guest-fsfreeze-status'), 'thawed');
    const checkpoints = (await connection.checkpoints(domain)).map(({ name }) => name);
    assert.ok(checkpoints.length <= 2, checkpoints.join(' '));
    const stray = (await this.bitmaps()).filter(({ name }) => !checkpoints.includes(name));
    assert.deepEqual(stray, [], 'bitmaps belong to checkpoints');
  }

  /** What tracks changes in the images of the machine, which runs. */
  async bitmaps(): Promise<{ node: string; file: string; name: string }[]> {
    type Node = { 'node-name': string; file: string; 'dirty-bitmaps'?: { name?: string }[] };
    const nodes = await this.guest.monitor<Node[]>('query-named-block-nodes', { flat: true });
    return nodes.flatMap(({ 'node-name': node, file, 'dirty-bitmaps': bitmaps = [] }) =>
      bitmaps.flatMap(({ name }) => (name === undefined ? [] : [{ node, file, name }])),
    );
  }

  /** Nothing is tracked any more; the next point is of whole disks. */
  async forgetChanges(): Promise<void> {
    const { connection, domain } = this.guest;
    for (const { name } of (await connection.checkpoints(domain)).toReversed()) {
      await connection.checkpointDelete(domain, name, { metadataOnly: true });
    }
    for (const { node, name } of await this.bitmaps()) {
      await this.guest.monitor('block-dirty-bitmap-remove', { node, name });
    }
  }
}

/** How many bytes of a disk are not zeroes, as far as its image tells. */
export async function allocatedBytes({ path, format }: GuestDisk): Promise<number> {
  const { stdout } = await qemuImg('map', UNLOCKED, '--output=json', '-f', format, path);
  const ranges = JSON.parse(stdout) as { length: number; data: boolean; zero: boolean }[];
  return ranges.reduce((sum, { length, data, zero }) => sum + (data && !zero ? length : 0), 0);
}

async function qemuImg(...words: readonly string[]): Promise<{ stdout: string }> {
  return await promisify(execFile)('qemu-img', words, { maxBuffer: 64 * 1024 * 1024 });
}
