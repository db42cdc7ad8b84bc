/**
 * A run of backups, removals and collections is recorded, call by call. Then the power fails after
 * each of the calls: whatever state that leaves, all that was promised is there and restores.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Clock,
  isCofferError,
  type Random,
  seededRandom,
  systemClock,
  systemProcesses,
} from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { backup } from '@coffer/flows/backup/backup.ts';
import { restore } from '@coffer/flows/restore/restore.ts';
import {
  ChunkIndex,
  collectGarbage,
  inlineChunkPool,
  type RecoveryPoint,
  Repository,
  type UnlockedRepository,
  verifyRepository,
} from '@coffer/repository';
import { sleepUntilAborted } from '@coffer/repository/testing/test-repository.ts';
import { newConfig } from '@coffer/repository/config.ts';
import { writeConfig } from '@coffer/repository/config-objects.ts';
import { GC_PLAN_DEFAULTS } from '@coffer/repository/gc/plan.ts';
import type { RepositoryKeys } from '@coffer/repository/keys.ts';
import { generateKeyPair } from '@coffer/repository/sealed-box.ts';
import type { FileCalls } from '@coffer/storage/filesystem/calls.ts';
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';
import type { ObjectInfo, ObjectStore } from '@coffer/storage/object-store.ts';
import { overridden } from '@coffer/storage/testing/overridden.ts';
import { SmallSource, type SourceKind, stateOf } from './small-source.ts';
import { crashState, type Loss, writeState } from './crash-state.ts';
import { recordCalls, type Step, unsyncedCalls } from './recorded-calls.ts';

const PACK_SIZE_BYTES = 192 * 1024;
const HOUR_MS = 3_600_000;
/** Every pack with any waste is moved, and small ones are joined. */
const EAGER_PLAN = {
  ...GC_PLAN_DEFAULTS,
  wasteMax: 0.001,
  smallPackBytes: 64 * 1024,
  smallPacksMax: 2,
};

export class PowerLoss {
  readonly #folder: string;
  readonly #random: Random;
  readonly #source: SmallSource;
  readonly #keys: RepositoryKeys;
  /** One for all states, so that it is always of another one: it is a cache. */
  readonly #index: ChunkIndex;
  #stateCount = 0;

  private constructor(seed: number) {
    // Nothing here has to survive anything, so memory will do.
    const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
    this.#folder = mkdtempSync(join(parent, 'coffer-power-'));
    this.#random = seededRandom(seed);
    this.#source = new SmallSource(this.#folder, this.#random);
    this.#keys = { ...generateKeyPair(this.#random), hashKey: this.#random.bytes(32) };
    this.#index = ChunkIndex.open(join(this.#folder, 'index'));
  }

  static open(seed: number): PowerLoss {
    return new PowerLoss(seed);
  }

  async close(): Promise<void> {
    await this.#index.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Backups, a writer that dies, removals, and two collections; call by call. */
  async record(hasLinks = true): Promise<Step[]> {
    const root = join(this.#folder, 'recorded');
    mkdirSync(root);
    const { calls, record } = recordCalls(root, hasLinks);
    const store = await openFilesystemStore(root, { calls });
    const config = newConfig({ ...this.#keys, createdAt: 1, random: this.#random });
    await writeConfig(store, config);
    const stores = [store];
    const open = async (hours: number): Promise<UnlockedRepository> => {
      const repository = await this.#open(root, calls, hours);
      stores.push(repository.store);
      return repository;
    };
    const committed = async (repository: UnlockedRepository, kind: SourceKind): Promise<string> => {
      const point = await this.#backUp(repository, kind);
      record.push({ type: 'event', event: { type: 'committed', point } });
      return point;
    };
    const removed = async (repository: UnlockedRepository, point: string): Promise<void> => {
      record.push({ type: 'event', event: { type: 'removing', point } });
      const all = await repository.points();
      await repository.removePoint(all.find(({ id }) => id === point)!);
    };
    const first = await open(0);
    const points = [await committed(first, 'disk'), await committed(first, 'files')];
    this.#source.change('disk');
    await committed(first, 'disk');
    await removed(first, points[0]!);
    // A writer that dies: its session stays open, and its packs have no index.
    const dead = await first.beginSession();
    await dead.writer.writeNode([], Buffer.from('what nobody will ever read'));
    await dead.writer.flush();
    await this.#collect(await open(2));
    this.#source.change('files');
    const second = await open(2);
    await committed(second, 'files');
    await removed(second, points[1]!);
    await this.#collect(await open(4));
    this.#source.change('disk');
    await committed(second, 'disk');
    for (const each of stores) await each.close();
    return record;
  }

  /** The power fails after the first `length` steps. */
  async check(record: readonly Step[], length: number, loss: Loss, seed: number): Promise<void> {
    const root = join(this.#folder, `state-${this.#stateCount++}`);
    mkdirSync(root);
    writeState(crashState(record, length, { loss, random: seededRandom(seed) }), root);
    const { promised, removing } = eventsOf(record.slice(0, length));
    try {
      await this.#checkState(root, promised, removing);
    } catch (error) {
      throw new Error(`after ${length} of ${record.length} steps, lost ${loss}, seed ${seed}`, {
        cause: error,
      });
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  }

  async #checkState(
    root: string,
    promised: ReadonlySet<string>,
    removing: ReadonlySet<string>,
  ): Promise<void> {
    let repository: UnlockedRepository;
    try {
      repository = await this.#open(root, unsyncedCalls, 6);
    } catch (error) {
      if (isCofferError(error, 'repository-not-found') && promised.size === 0) return;
      throw error;
    }
    const points = await this.#checkWhole(repository);
    const listed = new Set(points.map(({ id }) => id));
    for (const point of promised) {
      assert.ok(listed.has(point) || removing.has(point), `promised point ${point} is listed`);
    }
    for (const point of points) await this.#checkRestore(repository, point);
    const kind = this.#random.fraction() < 0.5 ? 'disk' : 'files';
    const point = await this.#backUp(repository, kind);
    await this.#collect(repository);
    await this.#collect(repository);
    const after = await this.#checkWhole(repository);
    const expected = [...listed, point].sort();
    assert.deepEqual(after.map(({ id }) => id).sort(), expected, 'a collection removes no point');
    await this.#checkRestore(
      repository,
      after.find(({ id }) => id === point)!,
    );
    for await (const { name } of repository.store.list('sessions/')) assert.fail(name);
    await repository.store.close();
  }

  async #checkWhole(repository: UnlockedRepository): Promise<RecoveryPoint[]> {
    const { findings } = await verifyRepository({ repository, readFraction: 1 });
    assert.deepEqual(findings, [], 'a verification with data finds nothing');
    return await repository.points();
  }

  async #checkRestore(repository: UnlockedRepository, point: RecoveryPoint): Promise<void> {
    const target = join(this.#folder, 'restored');
    rmSync(target, { recursive: true, force: true });
    const wanted = { path: '', include: [], dryRun: false, verify: false, conflict: undefined };
    const { findings } = await restore(testRun(), { repository, point, target, ...wanted });
    assert.deepEqual(findings, []);
    const isEqual = stateOf(target, point.kind) === point.tags['state'];
    assert.ok(isEqual, `point ${point.id} restores to its source`);
  }

  async #backUp(repository: UnlockedRepository, kind: SourceKind): Promise<string> {
    const path = this.#source.path(kind);
    // What it has to restore to travels with the point, which may exist though nobody was told.
    const tags = { state: stateOf(path, kind) };
    const source = await this.#source.open(kind, 'latest');
    try {
      const wanted = { repository, source, item: kind, tags };
      return (await backup(testRun(), wanted)).point;
    } finally {
      if (source.kind === 'disk') await source.disk.close();
    }
  }

  async #collect(repository: UnlockedRepository): Promise<void> {
    await collectGarbage({ repository, plan: EAGER_PLAN });
  }

  async #open(root: string, calls: FileCalls, hours: number): Promise<UnlockedRepository> {
    const random = this.#random;
    const clock = CLOCK;
    const repository = await Repository.open(testRun({ clock, random }), {
      store: agedBy(hours, await openFilesystemStore(root, { calls, clock, random })),
      index: this.#index,
      processes: systemProcesses,
      chunkPool: inlineChunkPool(random),
      packSizeBytes: PACK_SIZE_BYTES,
    });
    return repository.unlockWith(this.#keys);
  }
}

function eventsOf(record: readonly Step[]): {
  readonly promised: ReadonlySet<string>;
  readonly removing: ReadonlySet<string>;
} {
  const promised = new Set<string>();
  const removing = new Set<string>();
  for (const step of record) {
    if (step.type !== 'event') continue;
    if (step.event.type === 'committed') promised.add(step.event.point);
    else removing.add(step.event.point);
  }
  return { promised, removing };
}

/**
 * What others have put is older by so many hours, so that leases of those who died are over. Nobody
 * renews one: nothing here takes so long.
 */
function agedBy(hours: number, store: ObjectStore): ObjectStore {
  const own = new Set<string>();
  const aged = (info: ObjectInfo): ObjectInfo =>
    own.has(info.name) ? info : { ...info, createdAt: info.createdAt - hours * HOUR_MS };
  return overridden(store, {
    put: async (name, ...rest) => {
      own.add(name);
      await store.put(name, ...rest);
    },
    stat: async (...asked) => {
      const info = await store.stat(...asked);
      return info && aged(info);
    },
    async *list(...asked) {
      for await (const info of store.list(...asked)) yield aged(info);
    },
  });
}

/** Nothing passes by itself. */
const CLOCK: Clock = {
  now: () => systemClock.now(),
  sleep: (_durationMs, signal) => sleepUntilAborted(signal),
};
