/** A repository: an object store with keys and structure. */
import { join } from 'node:path';
import { type Clock, CofferError, isCofferError, mapBounded, type Random } from '@coffer/base';
import { type ObjectStore, refuseAppendOnly } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { ChunkReader } from './chunk/chunk-reader.ts';
import { type ChunkWork, inlineChunkWork } from './chunk/chunk-work.ts';
import type { EngineKeys } from './chunk/engine.ts';
import { newConfig, type RepositoryConfig } from './config.ts';
import { damagedName, isMarkedDamaged } from './damaged-points.ts';
import { readConfig, refuseExisting, writeConfig } from './config-objects.ts';
import { readGcState, readGcStateIfIntact, survives } from './gc/gc-record.ts';
import { ChunkIndex } from './index/chunk-index.ts';
import {
  type KeySlot,
  matchesConfig,
  newKeySlot,
  readKeySlots,
  removeSlotsOfOthers,
  type RepositoryKeys,
  unlockKeys,
  writeKeySlot,
  type WriterKeys,
} from './keys.ts';
import { count, decodeRecord, encodeRecord } from './record.ts';
import {
  decodePointObject,
  itemFolder,
  parsePointObjectName,
  type PointObject,
  pointObjectName,
  type RecoveryPoint,
} from './recovery-point.ts';
import { generateKeyPair } from './sealed-box.ts';
import { finishCommittedSessions, Session } from './session/session.ts';
import { listSessions, readEndIfIntact } from './session/session-record.ts';
import { getRecord } from './store-calls.ts';

/** Points fetched at once when they are listed. */
const FETCHES_AT_ONCE = 16;

const Hold = v.object({ point: v.string(), heldAt: count });

/** What the parts of a repository need of each other. */
export interface RepositoryContext {
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  readonly keys: WriterKeys;
  readonly clock: Clock;
  readonly random: Random;
}

export interface OpenOptions {
  readonly store: ObjectStore;
  /** Folder of the local caches of all repositories; or the open index of this one. */
  readonly index: ChunkIndex | { readonly cacheFolder: string };
  readonly clock: Clock;
  readonly random: Random;
  /** Who computes: threads, or the caller's thread. */
  readonly chunkWork: (keys: EngineKeys) => ChunkWork;
  readonly packSizeBytes?: number | undefined;
}

export interface InitOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly passphrase: string;
  readonly recoveryKey: string;
}

/** Makes a new repository with two key slots. Fails with `repository-exists`. */
export async function initRepository(options: InitOptions): Promise<RepositoryConfig> {
  const { store, clock, random, passphrase, recoveryKey } = options;
  const keys: RepositoryKeys = { ...generateKeyPair(random), hashKey: random.bytes(32) };
  const createdAt = clock.now();
  const slot = { keys, createdAt, random };
  const slots = [
    await newKeySlot({ ...slot, kind: 'passphrase', secret: passphrase, label: 'first' }),
    await newKeySlot({ ...slot, kind: 'recovery', secret: recoveryKey, label: 'printed' }),
  ];
  return await writeNew(store, newConfig({ ...keys, createdAt, random }), slots);
}

/**
 * Makes a new repository with the keys of another one: the same passphrases open it, and sealed
 * chunks can be moved between the two by someone who holds no key.
 */
export async function initWithKeysFrom(
  source: Repository,
  { store, clock, random }: Pick<InitOptions, 'store' | 'clock' | 'random'>,
): Promise<RepositoryConfig> {
  const repositoryId = random.bytes(16).toString('hex');
  const config = { ...source.config, repositoryId, createdAt: clock.now() };
  return await writeNew(store, config, await readKeySlots(source));
}

/**
 * The slots go first and the config last: it decides who of two that init at once wins, and as soon
 * as it is there, the repository opens. What is left of an init that was killed before, or has lost,
 * is nothing to anybody.
 */
async function writeNew(
  store: ObjectStore,
  config: RepositoryConfig,
  slots: readonly KeySlot[],
): Promise<RepositoryConfig> {
  await refuseExisting(store);
  for (const slot of slots) await writeKeySlot(store, slot);
  try {
    await writeConfig(store, config);
  } catch (error) {
    if (!isCofferError(error, 'repository-exists')) throw error;
    await removeSlotsOfOthers({ store, config: await readConfig(store) });
    throw error;
  }
  await removeSlotsOfOthers({ store, config });
  return config;
}

export class Repository {
  readonly config: RepositoryConfig;
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  readonly clock: Clock;
  readonly random: Random;
  readonly #options: OpenOptions;
  #keys: RepositoryKeys | undefined;
  #work: ChunkWork | undefined;

  private constructor(options: OpenOptions, config: RepositoryConfig, index: ChunkIndex) {
    this.#options = options;
    this.config = config;
    this.index = index;
    this.store = options.store;
    this.clock = options.clock;
    this.random = options.random;
  }

  /** Fails with `repository-not-found`, `repository-version` or `object-damaged`. */
  static async open(options: OpenOptions): Promise<Repository> {
    const config = await readConfig(options.store);
    const index =
      options.index instanceof ChunkIndex
        ? options.index
        : ChunkIndex.open(join(options.index.cacheFolder, config.repositoryId, 'index'));
    return new Repository(options, config, index);
  }

  async close(): Promise<void> {
    await this.#work?.close();
    await this.index.close();
    await this.store.close();
  }

  get location(): string {
    return this.store.location;
  }

  /** Opens the keys with a passphrase or the recovery key. Fails with `passphrase-wrong`. */
  async unlock(secret: string): Promise<void> {
    const damaged: CofferError[] = [];
    const slots = await readKeySlots(this, (error) => damaged.push(error));
    try {
      this.#keys = await unlockKeys(this.config, slots, secret);
    } catch (error) {
      // Perhaps the slot of this secret is the damaged one.
      throw isCofferError(error, 'passphrase-wrong') ? (damaged[0] ?? error) : error;
    }
  }

  /** Takes keys that were opened elsewhere. Fails with `passphrase-wrong` when they are not ours. */
  unlockWith(keys: RepositoryKeys): void {
    if (!matchesConfig(this.config, keys)) throw new CofferError('passphrase-wrong');
    this.#keys = keys;
  }

  get packSizeBytes(): number | undefined {
    return this.#options.packSizeBytes;
  }

  get isUnlocked(): boolean {
    return this.#keys !== undefined;
  }

  /** Fails with `passphrase-missing` before `unlock`. */
  get keys(): RepositoryKeys {
    if (!this.#keys) throw new CofferError('passphrase-missing', { repository: this.location });
    return this.#keys;
  }

  /** True when sealed chunks of the other repository are valid here as they are. */
  sharesKeysWith(other: Repository): boolean {
    return (
      this.config.publicKey === other.config.publicKey &&
      this.config.hashKeyCheck === other.config.hashKeyCheck
    );
  }

  get work(): ChunkWork {
    this.#work ??= this.#options.chunkWork({
      ...this.#writerKeys(),
      privateKey: this.#keys?.privateKey,
    });
    return this.#work;
  }

  reader(signal?: AbortSignal): ChunkReader {
    return new ChunkReader({ store: this.store, index: this.index, keys: this.keys, signal });
  }

  /** Begins a writer's run. `moves` tells that it only moves sealed chunks, which takes no threads. */
  async beginSession(
    signal?: AbortSignal,
    { moves = false, readsBack }: { moves?: boolean; readsBack?: boolean | undefined } = {},
  ): Promise<Session> {
    await finishCommittedSessions(this.store, ignoreDamaged);
    const work = moves ? this.#inlineWork() : this.work;
    const { packSizeBytes } = this.#options;
    const context = this.context();
    return await Session.begin({ context, work, signal, packSizeBytes, readsBack });
  }

  #inlineWork(): ChunkWork {
    return inlineChunkWork({ ...this.#writerKeys(), privateKey: undefined }, this.random);
  }

  /** Without keys, a session can move sealed chunks, and write none of its own. */
  context(): RepositoryContext {
    const { store, index, clock, random } = this;
    return { store, index, clock, random, keys: this.#writerKeys() };
  }

  /**
   * All points that exist, oldest first. Damaged ones are told to `onDamaged`, or thrown; when the
   * keys are unlocked, so are those that no writer of this repository made.
   */
  async points(onDamaged?: (error: CofferError) => void): Promise<RecoveryPoint[]> {
    const state = await readGcStateIfIntact(this.store, onDamaged);
    const held = new Set<string>();
    for await (const { name } of this.store.list('holds/')) held.add(name.slice('holds/'.length));
    const stored = await this.#storedPoints(onDamaged);
    const hashKey = this.#keys?.hashKey;
    const points = await mapBounded(stored.values(), FETCHES_AT_ONCE, async (objects) => {
      for (const each of objects) {
        if (!survives(each, state)) continue;
        try {
          const bytes = each.bytes ?? (await getRecord(this.store, each.name));
          const record = decodePointObject(each, bytes, hashKey);
          const { id, generation } = each;
          return { ...record, id, generation, held: held.has(id) };
        } catch (error) {
          if (isCofferError(error, 'object-not-found')) continue;
          if (!isCofferError(error, 'object-damaged') || !onDamaged) throw error;
          onDamaged(error);
        }
      }
      return undefined;
    });
    return points.filter((point) => point !== undefined).sort(byTime);
  }

  /** The record of a point as it is stored. */
  async readPointRecord({ item, generation, id }: RecoveryPoint): Promise<Buffer> {
    const name = pointObjectName(item, generation, id);
    const objects = (await this.#storedPoints(ignoreDamaged)).get(id);
    const unlisted = objects?.find((each) => each.name === name && each.bytes !== undefined);
    return unlisted?.bytes ?? (await getRecord(this.store, name));
  }

  /** Whether the point exists now. Points are removed while others work with them. */
  async isListed({ id, item }: Pick<RecoveryPoint, 'id' | 'item'>): Promise<boolean> {
    const state = await readGcState(this.store);
    for await (const { name } of this.store.list(itemFolder(item))) {
      const listed = parsePointObjectName(name);
      if (listed?.id === id && survives(listed, state)) return true;
    }
    return false;
  }

  /** Deletes a point; its chunks stay until the next garbage collection. */
  async removePoint(point: RecoveryPoint): Promise<void> {
    refuseAppendOnly(this.store);
    if (point.held) throw new CofferError('point-held', { point: point.id });
    // A committed session that is not cleaned up would list the point again.
    await finishCommittedSessions(this.store, ignoreDamaged);
    // One that was copied twice, or listed late, lies there under several generations.
    for await (const { name } of this.store.list(itemFolder(point.item))) {
      if (parsePointObjectName(name)?.id === point.id) await this.store.delete(name);
    }
    await this.store.delete(damagedName(point.id));
  }

  /** True for a point that a repair has found to miss chunks: nothing may be built on it. */
  async isMarkedDamaged({ id }: Pick<RecoveryPoint, 'id'>): Promise<boolean> {
    return await isMarkedDamaged(this.store, id);
  }

  /** False when it was held already. */
  async hold(point: RecoveryPoint): Promise<boolean> {
    const record = { point: point.id, heldAt: this.clock.now() };
    try {
      await this.store.put(holdName(point.id), encodeRecord('hold', record));
      return true;
    } catch (error) {
      if (isCofferError(error, 'object-exists')) return false;
      throw error;
    }
  }

  async release(point: RecoveryPoint): Promise<void> {
    refuseAppendOnly(this.store);
    await this.store.delete(holdName(point.id));
  }

  #writerKeys(): WriterKeys {
    if (this.#keys) return this.#keys;
    return { publicKey: Buffer.from(this.config.publicKey, 'hex'), hashKey: Buffer.alloc(32) };
  }

  /**
   * By id: what is listed, and what a session committed and did not list yet. Of several objects the
   * latest generation goes first, which a sweep is least likely to have passed over; where that is
   * damaged, another one may be whole.
   */
  async #storedPoints(
    onDamaged: ((error: CofferError) => void) | undefined,
  ): Promise<Map<string, StoredPoint[]>> {
    const points = new Map<string, StoredPoint[]>();
    const add = (point: StoredPoint): void => {
      const known = points.get(point.id);
      if (known) known.push(point);
      else points.set(point.id, [point]);
    };
    // Sessions first: a session that lists its points in between is found at one of both places.
    for (const { session, hasEnd } of await listSessions(this.store)) {
      const end = hasEnd ? await readEndIfIntact(this.store, session, onDamaged) : undefined;
      if (end?.outcome !== 'committed') continue;
      for (const { id, item, record } of end.points) {
        const { generation } = end;
        const name = pointObjectName(item, generation, id);
        add({ id, generation, name, bytes: Buffer.from(record, 'base64') });
      }
    }
    for await (const { name } of this.store.list('points/')) {
      const parsed = parsePointObjectName(name);
      if (parsed) add({ ...parsed, bytes: undefined });
    }
    for (const objects of points.values()) objects.sort((a, b) => b.generation - a.generation);
    return points;
  }
}

interface StoredPoint extends PointObject {
  /** Undefined when it is listed, and so to be fetched. */
  readonly bytes: Buffer | undefined;
}

/** Fails with `object-damaged`. */
export function checkHold(bytes: Buffer, name: string): void {
  const hold = decodeRecord('hold', Hold, bytes, name);
  if (holdName(hold.point) !== name) {
    throw new CofferError('object-damaged', { object: name, reason: 'its name is wrong' });
  }
}

/** What a damaged record promised is lost; who works beside it need not stop for it. */
function ignoreDamaged(): void {}

function holdName(pointId: string): string {
  return `holds/${pointId}`;
}

function byTime(a: RecoveryPoint, b: RecoveryPoint): number {
  return a.takenAt - b.takenAt || (a.id < b.id ? -1 : 1);
}
