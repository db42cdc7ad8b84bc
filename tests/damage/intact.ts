/**
 * A small repository that holds an object of every kind: points of disks and files, held, deleted,
 * received, and marked as damaged (though it is whole); key slots of each kind; a finished collection
 * and one that waits; a removal since then; a session that is open, one that was abandoned, and one
 * that committed and could not list its point; what a job has made. It says which bytes each point
 * needs.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, CofferError, type Random, seededRandom, systemProcesses } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { backup } from '@coffer/flows/backup/backup.ts';
import {
  ChunkIndex,
  collectGarbage,
  generateRecoveryKey,
  initRepository,
  inlineChunkPool,
  type PointKind,
  Repository,
  type UnlockedRepository,
} from '@coffer/repository';
import { sleepUntilAborted } from '@coffer/repository/testing/test-repository.ts';
import { isZeroId } from '@coffer/repository/chunk/chunk-id.ts';
import { RecordReader } from '@coffer/repository/chunk/record-reader.ts';
import { GC_PLAN_DEFAULTS } from '@coffer/repository/gc/plan.ts';
import { addMarks } from '@coffer/repository/damaged-points.ts';
import { addKeySlot, newSealedSlot, type RepositoryKeys } from '@coffer/repository/keys.ts';
import { generateKeyPair, type KeyPair } from '@coffer/repository/sealed-box.ts';
import { attemptSessionId, encodeJob, jobIdOf, jobName } from '@coffer/repository/session/job.ts';
import { packObjectName } from '@coffer/repository/pack/pack-codec.ts';
import { renewalName } from '@coffer/repository/session/session-record.ts';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { SmallSource, type SourceKind, stateOf } from '../power-loss/small-source.ts';

export const PASSPHRASE = 'correct horse battery staple';
const PACK_SIZE_BYTES = 160 * 1024;
const START_MS = 1_800_000_000_000;
const DAY_MS = 24 * 3_600_000;

export interface IntactPoint {
  readonly id: string;
  readonly item: string;
  readonly kind: PointKind;
  readonly state: string;
  /** True when the source is still as it was then. */
  readonly isCurrent: boolean;
  /** Records that it reaches, by pack. */
  readonly needs: ReadonlyMap<string, readonly NeededRecord[]>;
  /** Index objects that name those packs. */
  readonly indexObjects: ReadonlySet<string>;
  /** Beginning of the names of the session that holds it until it is listed. */
  readonly unlistedIn: string | undefined;
}

export interface NeededRecord {
  readonly chunk: string;
  readonly offset: number;
  readonly length: number;
}

export class IntactRepository {
  readonly folder: string;
  readonly random: Random;
  readonly recoveryKey: string;
  /** That a slot is sealed to. */
  readonly service: KeyPair;
  readonly source: SmallSource;
  readonly objects = new Map<string, Buffer>();
  points: readonly IntactPoint[] = [];
  keys!: RepositoryKeys;
  #index: ChunkIndex;

  private constructor(folder: string, random: Random) {
    this.folder = folder;
    this.random = random;
    this.recoveryKey = generateRecoveryKey(random);
    this.service = generateKeyPair(random);
    mkdirSync(folder, { recursive: true });
    this.source = new SmallSource(folder, random);
    this.#index = ChunkIndex.open(join(folder, 'index'));
  }

  static async make(folder: string, seed: number): Promise<IntactRepository> {
    const intact = new IntactRepository(folder, seededRandom(seed));
    await intact.#fill();
    return intact;
  }

  /** Empties the local cache. */
  forget(): void {
    this.#index.clear();
  }

  async close(): Promise<void> {
    await this.#index.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Opens a repository over these objects, `hours` after the fixture was made; without its keys. */
  async open(store: ObjectStore, hours = 0): Promise<Repository> {
    const { random } = this;
    return await Repository.open(testRun({ clock: stillClock(hours), random }), {
      store,
      // One for all: it is a cache, and what it holds of other stores is no harm.
      index: this.#index,
      processes: systemProcesses,
      chunkPool: inlineChunkPool(random),
      packSizeBytes: PACK_SIZE_BYTES,
    });
  }

  async backUp(repository: UnlockedRepository, kind: SourceKind): Promise<string> {
    const path = this.source.path(kind);
    const tags = { state: stateOf(path, kind) };
    // Without a parent: what was lost is read again.
    const source = await this.source.open(kind, 'none');
    try {
      const wanted = { repository, source, item: kind, tags };
      return (await backup(testRun(), wanted)).point;
    } finally {
      if (source.kind === 'disk') await source.disk.close();
    }
  }

  async #fill(): Promise<void> {
    const { random, recoveryKey } = this;
    const store = openMemoryStore({ clock: stillClock(0) });
    const clock = stillClock(0);
    await initRepository({ store, clock, random, passphrase: PASSPHRASE, recoveryKey });
    const repository = await (await this.open(store)).unlock(PASSPHRASE);
    this.keys = repository.allKeys;
    const slot = { keys: this.keys, label: 'service', createdAt: START_MS, random };
    await addKeySlot(store, newSealedSlot({ ...slot, sealedTo: this.service.publicKey }));
    const first = await this.backUp(repository, 'disk');
    await this.backUp(repository, 'files');
    this.source.change('disk');
    const hidden = await this.backUp(repository, 'disk');
    await this.#remove(repository, first);
    await collectGarbage({ repository, plan: EAGER_PLAN });
    this.source.change('files');
    const held = (await repository.points()).find(({ item }) => item === 'files')!;
    await this.backUp(repository, 'files');
    await repository.hold(held, { holder: 'person', reason: 'kept', by: 'somebody' });
    const receipt = { point: held.id, arrivedAt: START_MS, agent: 'agent', job: 'job' };
    await repository.putReceipt(receipt, Buffer.alloc(32));
    await repository.softDelete({ id: hidden }, { until: START_MS + 14 * DAY_MS, by: 'somebody' });
    await addMarks(repository.context, [held.id]);
    const attempt = { key: 'a job', number: 1 };
    const made = {
      session: attemptSessionId(attempt, [], random),
      points: [{ id: held.id, item: held.item }],
    };
    const job = jobIdOf(attempt);
    await store.put(jobName(job), encodeJob({ job, ...made }));
    await store.put('probes/somebody', Buffer.from('looks how the store behaves'));
    const garbage = await this.backUp(repository, 'disk');
    await (await repository.beginSession()).abandon();
    const open = await repository.beginSession();
    await open.writer.writeNode([], Buffer.from('what nobody will ever read'));
    await open.writer.flush();
    await store.put(renewalName(open.id, 1), Buffer.alloc(0));
    await this.#remove(repository, garbage);
    await collectGarbage({ repository, plan: EAGER_PLAN });
    this.source.change('disk');
    await this.#commitUnlisted(store);
    for await (const { name } of store.list('')) {
      this.objects.set(name, await store.get(name, { sizeBytesMax: 1024 ** 3 }));
    }
    this.points = await this.#describePoints(repository);
  }

  async #remove(repository: UnlockedRepository, id: string): Promise<void> {
    const point = (await repository.points()).find((each) => each.id === id);
    await repository.removePoint(point!);
  }

  /** The store fails between the commit and the listing. */
  async #commitUnlisted(store: ObjectStore): Promise<void> {
    const put: ObjectStore['put'] = async (name, bytes) => {
      if (name.startsWith('points/')) throw new CofferError('store-unavailable');
      await store.put(name, bytes);
    };
    const failing = new Proxy(store, {
      get: (target, property) => {
        if (property === 'put') return put;
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const repository = (await this.open(failing)).unlockWith(this.keys);
    await this.backUp(repository, 'disk').catch((error: unknown) => {
      if (!(error instanceof CofferError)) throw error;
    });
  }

  async #describePoints(repository: UnlockedRepository): Promise<IntactPoint[]> {
    const { index, store } = repository;
    await index.synchronize(store);
    const records = new RecordReader({ store, index });
    const described: IntactPoint[] = [];
    for (const { id, item, kind, roots, tags } of await repository.points({
      deleted: true,
    })) {
      const needs = new Map<string, NeededRecord[]>();
      const indexObjects = new Set<string>();
      const visit = async (chunk: Buffer): Promise<void> => {
        const location = isZeroId(chunk) ? undefined : index.find(chunk);
        if (!location) return;
        const pack = index.requiredPack(location.packNumber);
        const name = packObjectName(pack.pack);
        indexObjects.add(pack.object);
        const known = needs.get(name) ?? [];
        if (known.some((record) => record.offset === location.offset)) return;
        const { offset, length } = location;
        needs.set(name, [...known, { chunk: chunk.toString('hex'), offset, length }]);
        if (location.kind !== 'node') return;
        for (const child of await records.readChildren(chunk)) await visit(Buffer.from(child));
      };
      for (const { root } of roots) await visit(Buffer.from(root, 'hex'));
      const state = tags['state']!;
      const isCurrent = state === stateOf(this.source.path(kind), kind);
      const unlistedIn = await this.#sessionOf(id);
      described.push({ id, item, kind, state, isCurrent, needs, indexObjects, unlistedIn });
    }
    return described;
  }

  async #sessionOf(point: string): Promise<string | undefined> {
    for (const [name, bytes] of this.objects) {
      if (!name.endsWith('-end') || !bytes.includes(point)) continue;
      return name.slice(0, -'end'.length);
    }
    return undefined;
  }
}

/** Every pack with any waste is moved. */
export const EAGER_PLAN = { ...GC_PLAN_DEFAULTS, wasteMax: 0.001 };

export function stillClock(hours: number): Clock {
  return {
    now: () => START_MS + hours * 3_600_000,
    sleep: (_durationMs, signal) => sleepUntilAborted(signal),
  };
}
