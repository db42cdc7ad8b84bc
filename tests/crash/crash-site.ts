/**
 * A place where processes are killed: a repository, a copy of it with the same keys, and what is
 * protected. It knows which points were promised, and what each of them has to restore to.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Random, systemProcesses, systemRandom } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { restore } from '@coffer/flows/restore/restore.ts';
import {
  collectGarbage,
  inlineChunkPool,
  type RecoveryPoint,
  Repository,
  type UnlockedRepository,
  verifyRepository,
} from '@coffer/repository';
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';
import { type Ended, KillTimes, runAndKill } from './killed.ts';
import { RandomSource, type SourceKind, stateOf } from './random-source.ts';

const PASSPHRASE = 'correct horse battery staple';

/** One of the two repositories, opened in this process with a cache of its own. */
export interface Side {
  readonly name: 'repo' | 'copy';
  readonly location: string;
  readonly repository: UnlockedRepository;
  /** Points that exist, with what they restore to. */
  readonly promised: Map<string, { readonly kind: SourceKind; readonly state: string }>;
  /** Points that were removed: they never come back. */
  readonly removed: Set<string>;
}

export class CrashSite {
  readonly folder: string;
  readonly source: RandomSource;
  readonly random: Random;
  readonly times: KillTimes;
  readonly #env: NodeJS.ProcessEnv;
  readonly #sides: Side[] = [];

  private constructor(random: Random) {
    this.folder = mkdtempSync(join(tmpdir(), 'coffer-crash-'));
    this.random = random;
    this.times = new KillTimes(random);
    this.source = new RandomSource(this.folder, random);
    this.#env = {
      PATH: process.env['PATH'],
      HOME: this.folder,
      XDG_CACHE_HOME: join(this.folder, 'cache'),
      NODE_COMPILE_CACHE: join(tmpdir(), 'coffer-e2e-compiled'),
      COFFER_REPO: join(this.folder, 'repo'),
      COFFER_PASSPHRASE: PASSPHRASE,
    };
  }

  static async make(random: Random): Promise<CrashSite> {
    const site = new CrashSite(random);
    const keyFile = join(site.folder, 'recovery-key');
    await site.done('repo', ['init', '--recovery-key-file', keyFile]);
    await site.done('copy', ['init', '--repo', site.location('copy'), '--keys-from', 'repo']);
    for (const name of ['repo', 'copy'] as const) site.#sides.push(await site.#open(name));
    return site;
  }

  async close(): Promise<void> {
    for (const { repository } of this.#sides) await repository.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  location(name: Side['name']): string {
    return join(this.folder, name);
  }

  side(name: Side['name']): Side {
    return this.#sides.find((side) => side.name === name)!;
  }

  /** Runs a command that has to end well. */
  async done(name: Side['name'], words: readonly string[]): Promise<Ended> {
    const ended = await this.run(name, words, 'never');
    assert.equal(ended.code, 0, `coffer ${words.join(' ')}: ${ended.code} ${ended.stderr}`);
    return ended;
  }

  async run(
    name: Side['name'],
    words: readonly string[],
    killAt: Parameters<typeof runAndKill>[0]['killAt'],
    watched = this.location(name),
  ): Promise<Ended> {
    const located = words.map((word) => (word === 'repo' ? this.location('repo') : word));
    return await runAndKill({ words: located, env: this.#env, killAt, watched });
  }

  /** Notes a point that a backup of the source as it is now has promised. */
  promise(side: Side, point: string, kind: SourceKind): void {
    side.promised.set(point, { kind, state: this.source.stateOf(kind) });
  }

  /**
   * Whatever was killed: all that is listed is whole, all that was promised is listed, and restores.
   * A point that nobody promised is that of a backup that was killed after its commit.
   */
  async check(side: Side, unpromised: SourceKind | 'none'): Promise<void> {
    const { repository, promised, removed } = side;
    const { findings } = await verifyRepository({ repository, readFraction: 1 });
    assert.deepEqual(findings, [], 'a verification with data finds nothing');
    const points = await repository.points();
    const listed = new Set(points.map(({ id }) => id));
    for (const id of promised.keys()) assert.ok(listed.has(id), `promised point ${id} is listed`);
    for (const point of points) {
      assert.ok(!removed.has(point.id), 'a removed point stays removed');
      if (promised.has(point.id)) continue;
      assert.notEqual(unpromised, 'none', `nobody made point ${point.id}`);
      assert.equal(point.kind, unpromised);
      this.promise(side, point.id, point.kind);
      await this.checkRestore(side, point);
    }
    const known = points.filter(({ id }) => promised.has(id));
    const any = known[Math.floor(this.random.fraction() * known.length)];
    if (any) await this.checkRestore(side, any);
  }

  async checkRestore({ repository, promised }: Side, point: RecoveryPoint): Promise<void> {
    const target = join(this.folder, 'restored');
    rmSync(target, { recursive: true, force: true });
    const conflict = undefined;
    const wanted = { path: '', include: [], dryRun: false, verify: false, conflict };
    const result = await restore(testRun(), { repository, point, target, ...wanted });
    assert.deepEqual(result.findings, []);
    const { kind, state } = promised.get(point.id)!;
    assert.equal(stateOf(target, kind), state, `point ${point.id} restores to its source`);
    rmSync(target, { recursive: true, force: true });
  }

  /** Removes points until few are left, so that there is garbage to collect. */
  async removeSome(side: Side, left: number): Promise<void> {
    const points = await side.repository.points();
    while (points.length > left) {
      const [point] = points.splice(Math.floor(this.random.fraction() * points.length), 1);
      await side.repository.removePoint(point!);
      side.promised.delete(point!.id);
      side.removed.add(point!.id);
    }
  }

  /** After collections that had nothing to wait for, nothing but live data is left. */
  async checkNoGarbage(side: Side): Promise<void> {
    const { repository, location } = side;
    const temporary = join(location, '.tmp');
    for (const name of readdirSync(temporary)) utimesSync(join(temporary, name), 1, 1);
    // One carries on a killed one, one does its own work; then all that is left has to be needed.
    for (let round = 0; round < 3; round++) await this.done(side.name, gcOf(side));
    const { outcome } = await collectGarbage({ repository });
    assert.equal(outcome, 'nothing-to-do');
    assert.deepEqual(readdirSync(temporary), [], 'no temporary file is left');
    for (const kind of ['sessions', 'gc', 'packs']) {
      for await (const { name } of repository.store.list(`${kind}/`)) {
        assert.ok(kind !== 'sessions', `no session is left: ${name}`);
        assert.ok(kind !== 'gc' || /-(done|sweep)$/.test(name), `no old record is left: ${name}`);
        const pack = name.slice(name.lastIndexOf('/') + 1);
        assert.ok(kind !== 'packs' || isIndexed(repository, pack), `no pack is forgotten: ${name}`);
      }
    }
  }

  async #open(name: Side['name']): Promise<Side> {
    const location = this.location(name);
    assert.ok(existsSync(location));
    const repository = await Repository.open(testRun(), {
      store: await openFilesystemStore(location),
      index: { cacheFolder: join(this.folder, `cache-of-${name}`) },
      processes: systemProcesses,
      chunkPool: inlineChunkPool(systemRandom),
    });
    const unlocked = await repository.unlock(PASSPHRASE);
    return { name, location, repository: unlocked, promised: new Map(), removed: new Set() };
  }
}

export function gcOf({ location }: Side): string[] {
  return ['gc', '--repo', location];
}

function isIndexed({ index }: Repository, pack: string): boolean {
  return [...index.packs()].some((each) => each.pack.toString('hex') === pack);
}
