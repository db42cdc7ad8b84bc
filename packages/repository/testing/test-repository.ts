/**
 * Small repositories in memory for tests: known keys, repeatable randomness, a clock that stands
 * still until a test moves it. Several hosts may open the same store, each with its own index.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Clock,
  type Processes,
  type Random,
  type RunContext,
  seededRandom,
} from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { type ChunkPool, inlineChunkPool } from '../chunk/chunk-work.ts';
import type { Padding } from '../chunk/padding.ts';
import { SlabPool } from '../chunk/slab.ts';
import { GEOMETRY, newConfig } from '../config.ts';
import { writeConfig } from '../config-objects.ts';
import { ChunkIndex } from '../index/chunk-index.ts';
import type { RepositoryKeys } from '../keys.ts';
import { type EncodedPoint, encodePoint, type RecoveryPoint } from '../recovery-point.ts';
import { Repository, type UnlockedRepository } from '../repository.ts';
import { generateKeyPair } from '../sealed-box.ts';
import type { Session } from '../session/session.ts';
import { DiskTreeBuilder, diskLeaves } from '../tree/disk-tree.ts';

export const DISK_CHUNK_BYTES = GEOMETRY.diskChunkSizeBytes;

/** Time that passes only when a test says so. Sleepers sleep until they are told to stop. */
export interface StillClock extends Clock {
  advance(durationMs: number): void;
}

export function stillClock(startMs = 1_800_000_000_000): StillClock {
  let nowMs = startMs;
  return {
    now: () => nowMs,
    advance: (durationMs) => void (nowMs += durationMs),
    sleep: (_durationMs, signal) => sleepUntilAborted(signal),
  };
}

/** A process that runs, on a host of its own, and knows of no other that it has ended. */
export const testProcesses: Processes = {
  host: 'host',
  own: {
    bootId: '5f6c1cba-7d6c-4d35-8f43-3f9d0a4e8d11',
    pidNamespace: 'pid:[4026531836]',
    processId: 4711,
    startedAtTicks: 1000,
  },
  hasEnded: () => false,
};

/** The sleep of a clock that stands still. */
export async function sleepUntilAborted(signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}

export interface TestRepositoryOptions {
  readonly store?: ObjectStore;
  readonly clock?: StillClock;
  readonly seed?: number;
  /** Keys of another repository, for one of the same key domain. */
  readonly keys?: RepositoryKeys;
  readonly packSizeBytes?: number;
  readonly padding?: Padding;
}

export interface HostOptions {
  readonly store?: ObjectStore;
  /** Processes of one host share a cache: those that name the same one. */
  readonly cache?: string;
  readonly pool?: ChunkPool;
  /** Who says which writers run still. */
  readonly processes?: Processes;
  readonly signal?: AbortSignal;
  readonly tell?: RunContext['tell'];
}

/** A store with a repository in it, and what tests do with it. */
export class TestRepository {
  readonly store: ObjectStore;
  readonly clock: StillClock;
  readonly random: Random;
  readonly keys: RepositoryKeys;
  readonly #packSizeBytes: number | undefined;
  readonly #folder = mkdtempSync(join(tmpdir(), 'coffer-repository-'));
  readonly #indexes: ChunkIndex[] = [];

  private constructor(options: TestRepositoryOptions) {
    this.clock = options.clock ?? stillClock();
    this.store = options.store ?? openMemoryStore({ clock: this.clock });
    this.random = seededRandom(options.seed ?? 1);
    this.keys = options.keys ?? {
      ...generateKeyPair(this.random),
      hashKey: this.random.bytes(32),
    };
    this.#packSizeBytes = options.packSizeBytes;
  }

  static async create(options: TestRepositoryOptions = {}): Promise<TestRepository> {
    const created = new TestRepository(options);
    const { keys, clock, random } = created;
    const config = newConfig({ ...keys, createdAt: clock.now(), random, padding: options.padding });
    await writeConfig(created.store, config);
    return created;
  }

  /**
   * Opens it as one more host would, over the same store or a wrapper of it.
   */
  async host(options: HostOptions = {}): Promise<UnlockedRepository> {
    return (await this.lockedHost(options)).unlockWith(this.keys);
  }

  /** The same for a host that has no key. */
  async lockedHost({
    store = this.store,
    cache = String(this.#indexes.length),
    processes = testProcesses,
    pool = inlineChunkPool(this.random),
    ...given
  }: HostOptions = {}): Promise<Repository> {
    const index = ChunkIndex.open(join(this.#folder, cache));
    this.#indexes.push(index);
    const { clock, random } = this;
    const packSizeBytes = this.#packSizeBytes;
    return await Repository.open(testRun({ clock, random, ...given }), {
      store,
      index,
      processes,
      chunkPool: pool,
      packSizeBytes,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const index of this.#indexes) await index.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Makes a disk of these chunks durable in the session, and a point of it that is not committed. */
export async function writeDisk(
  repository: UnlockedRepository,
  session: Session,
  chunks: readonly Buffer[],
  { item = 'disk', takenAt = repository.run.clock.now() } = {},
): Promise<EncodedPoint> {
  const { writer } = session;
  const slabs = new SlabPool(1);
  const sizeBytes = diskSize(chunks);
  const tree = new DiskTreeBuilder(sizeBytes, (children, body) => writer.writeNode(children, body));
  for (const chunk of chunks) {
    const [id] = await slabs.use(async (slab) => {
      chunk.copy(slab.bytes);
      return await writer.write(slab, [{ offset: 0, length: chunk.length }]);
    });
    await tree.add(id!);
  }
  const roots = [{ name: 'disk', root: (await tree.finish()).toString('hex'), sizeBytes }];
  const header = { item, kind: 'disk' as const, takenAt, roots, tags: {} };
  return encodePoint(header, {}, { ...repository.keys, random: repository.run.random });
}

/** Protects a disk of these chunks in a session of its own. */
export async function protectDisk(
  repository: UnlockedRepository,
  chunks: readonly Buffer[],
  options: { item?: string; takenAt?: number } = {},
): Promise<RecoveryPoint> {
  const session = await repository.beginSession();
  const encoded = await writeDisk(repository, session, chunks, options);
  await session.commit([encoded]);
  const filter = { idPrefix: encoded.id };
  const [point] = await repository.points({ filter, onDamaged: () => {} });
  return point!;
}

/** Reads a disk of chunks back; zero chunks come as zeroes. */
export async function readDisk(
  repository: UnlockedRepository,
  point: RecoveryPoint,
): Promise<Buffer[]> {
  const reader = repository.reader();
  const { root, sizeBytes } = point.roots[0]!;
  const chunks: Buffer[] = [];
  const leaves = diskLeaves(reader, { root: Buffer.from(root, 'hex'), sizeBytes });
  for await (const { ids, firstChunkIndex, chunkCount } of leaves) {
    for (let index = 0; index < chunkCount; index++) {
      const offset = (firstChunkIndex + index) * DISK_CHUNK_BYTES;
      const length = Math.min(DISK_CHUNK_BYTES, sizeBytes - offset);
      const id = ids?.[index];
      const isData = id?.some((byte) => byte !== 0) ?? false;
      chunks.push(id && isData ? await reader.readData(id) : Buffer.alloc(length));
    }
  }
  return chunks;
}

/**
 * A chunk that is the same for the same number. Only its last chunk may be short in a real disk;
 * short ones keep tests fast, and trees do not care.
 */
export function chunkOf(content: number, sizeBytes = 600): Buffer {
  return seededRandom(content + 1).bytes(sizeBytes);
}

/** Chunks that differ; equal numbers give equal ones. */
export function chunkRange(from: number, to: number): Buffer[] {
  return Array.from({ length: to - from }, (_each, index) => chunkOf(from + index));
}

/** As if all chunks were whole: their number decides the shape of the tree. */
function diskSize(chunks: readonly Buffer[]): number {
  return chunks.length * DISK_CHUNK_BYTES;
}

/** Names of all objects under a prefix. */
export async function namesOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(prefix)) names.push(name);
  return names;
}

/** For tests that know what they have put. */
export async function getWhole(store: ObjectStore, name: string): Promise<Buffer> {
  return await store.get(name, { sizeBytesMax: 1024 ** 3 });
}

/** A store that tells of each object before it is read, so that others can act in between. */
export function onGet(
  store: ObjectStore,
  told: (name: string) => Promise<void> | void,
): ObjectStore {
  const get: ObjectStore['get'] = async (name, ...rest) => {
    await told(name);
    return await store.get(name, ...rest);
  };
  return overridden(store, { get });
}

/** A store that tells of a put before it is made, so that others can act in between. */
export function onPut(
  store: ObjectStore,
  before: (name: string, bytes: Buffer) => Promise<void> | void,
): ObjectStore {
  const put = async (name: string, bytes: Buffer, options?: object): Promise<void> => {
    await before(name, bytes);
    await store.put(name, bytes, options);
  };
  return overridden(store, { put });
}

/** A store that tells of a deletion before it is made. */
export function onDeleting(store: ObjectStore, told: (name: string) => void): ObjectStore {
  const tellAndDelete: ObjectStore['delete'] = async (name, ...rest) => {
    told(name);
    await store.delete(name, ...rest);
  };
  return overridden(store, { delete: tellAndDelete });
}

/** A store that tells of a deletion once it is made. */
export function onDelete(
  store: ObjectStore,
  after: (name: string) => Promise<void> | void,
): ObjectStore {
  const deleteAndTell: ObjectStore['delete'] = async (name, ...rest) => {
    await store.delete(name, ...rest);
    await after(name);
  };
  return overridden(store, { delete: deleteAndTell });
}

function overridden(store: ObjectStore, methods: object): ObjectStore {
  return new Proxy(store, {
    get(target, property) {
      const own: unknown = Reflect.get(methods, property);
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
