/** A repository: an object store with keys and structure. */
import { join } from 'node:path';
import { CofferError, digest, parting, type Processes, type RunContext } from '@coffer/base';
import { interruptible } from '@coffer/storage/interruptible.ts';
import { type ObjectStore, refuseAppendOnly } from '@coffer/storage/object-store.ts';
import { type BoxKeys, EntrustedBoxKeys, type OpenBoxes, ownBoxKeys } from './chunk/box-keys.ts';
import { ChunkReader } from './chunk/chunk-reader.ts';
import { RecordReader } from './chunk/record-reader.ts';
import { BodilessNodes, type NodeReader } from './tree/node-reader.ts';
import type { ChunkPool, ChunkWork } from './chunk/chunk-work.ts';
import type { EngineKeys } from './chunk/engine.ts';
import type { RepositoryConfig } from './config.ts';
import { readConfig } from './config-objects.ts';
import type { RepositoryContext } from './context.ts';
import { isMarkedDamaged } from './damaged-points.ts';
import { type Deletion, deletionName, markDeleted } from './deleted-points.ts';
import { readGcState, survives } from './generations/gc-record.ts';
import { objectsPassedOver } from './generations/passed-over.ts';
import {
  holdName,
  type HoldTerms,
  isInForce,
  listHolds,
  putHold,
  readHolds,
  type StoredHold,
} from './hold.ts';
import { ChunkIndex, type IndexOptions } from './index/chunk-index.ts';
import {
  matchesConfig,
  type RepositoryKeys,
  type SlotSecret,
  unlockKeys,
  type WriterKeys,
} from './keys.ts';
import { removeRecordsOf } from './beside-points.ts';
import { type PointsOptions, readPoints, storedPoints } from './points.ts';
import { putReceipt, type Receipt, readReceipt, readReceipts, receiptName } from './receipt.ts';
import {
  itemFolder,
  openManifest,
  openNotesOf,
  parsePointObjectName,
  pointObjectName,
  type RecoveryPoint,
} from './recovery-point.ts';
import { ChunkWriter } from './session/chunk-writer.ts';
import { PackWriter, type PackWriterOptions } from './session/pack-writer.ts';
import { noteRemoval } from './removed-points.ts';
import { finishCommittedSessions } from './session/finish.ts';
import type { Attempt } from './session/job.ts';
import { type BegunAttempt, Session, type SessionOptions } from './session/session.ts';
import { getRecord, getRecordIfThere } from './store-calls.ts';

export interface CachePlace extends IndexOptions {
  /** Of the local caches of all repositories; without one, the cache lasts as long as the process. */
  readonly cacheFolder: string | undefined;
  /**
   * Tells this store from clones of it, which have an index each, since their contents differ; the
   * location of the store unless told otherwise.
   */
  readonly place?: string;
}

export interface OpenOptions {
  readonly store: ObjectStore;
  /** The open index of this repository, or where it lies. */
  readonly index: ChunkIndex | CachePlace;
  /** By which a collection knows whether a writer has ended. */
  readonly processes: Processes;
  /** Who computes: threads that all repositories of the process share, or the caller's thread. */
  readonly chunkPool: ChunkPool;
  readonly packSizeBytes?: number | undefined;
}

/** What a repository shares with those that were unlocked of it, and for other runs. */
interface Opened {
  readonly options: OpenOptions;
  readonly config: RepositoryConfig;
  readonly index: ChunkIndex;
  /** Of each that was unlocked. */
  readonly work: ChunkWork[];
}

/** With what the keys compute. */
interface Writing {
  readonly keys: WriterKeys;
  readonly work: ChunkWork;
}

interface Unlocked extends Writing {
  readonly keys: RepositoryKeys | EntrustedKeys;
  readonly boxKeys: BoxKeys;
}

/**
 * A repository whose keys are not at hand. It can be listed, verified, repaired, collected and copied
 * within its key domain, and points can be removed and held; what makes or reads content needs an
 * `UnlockedRepository`. It belongs to a run: whatever waits ends with that, and all that is worth
 * knowing is told to it.
 */
export class Repository {
  readonly config: RepositoryConfig;
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  readonly run: RunContext;
  readonly processes: Processes;
  readonly #opened: Opened;

  protected constructor(run: RunContext, opened: Opened) {
    this.run = run;
    this.#opened = opened;
    this.config = opened.config;
    this.index = opened.index;
    this.store = interruptible(opened.options.store, run.signal);
    this.processes = opened.options.processes;
  }

  /** Fails with `repository-not-found`, `repository-version` or `object-damaged`. */
  static async open(run: RunContext, options: OpenOptions): Promise<Repository> {
    const config = await readConfig(interruptible(options.store, run.signal));
    const index =
      options.index instanceof ChunkIndex
        ? options.index
        : openIndex(config, { place: options.store.location, ...options.index });
    return new Repository(run, { options, config, index, work: [] });
  }

  /** The same for another run, or a part of one. Closing one of them closes all. */
  during(run: RunContext): Repository {
    return new Repository(run, this.#opened);
  }

  /** Closes the store and the index, also for what was unlocked of it, and forgets the keys. */
  async close(): Promise<void> {
    for (const work of this.#opened.work) work.close();
    await this.index.close();
    await this.#opened.options.store.close();
  }

  get location(): string {
    return this.store.location;
  }

  /** Undefined, unless it is unlocked. */
  get keys(): WriterKeys | undefined {
    return undefined;
  }

  /**
   * Opens the keys with a passphrase or the recovery key, or with the private key (32 raw bytes) that
   * a slot is sealed to. Fails with `passphrase-wrong`, or with `object-damaged` when the slot is.
   */
  async unlock(secret: SlotSecret): Promise<UnlockedRepository> {
    return this.unlockWith(await unlockKeys(this, secret));
  }

  /** Takes keys that were opened elsewhere. Fails with `passphrase-wrong` when they are not ours. */
  unlockWith(keys: RepositoryKeys): UnlockedRepository {
    return this.#unlockAs(keys, { keys, boxKeys: ownBoxKeys(keys.privateKey) });
  }

  /**
   * For a process that never has the private key, and reads what another party opens for it. Fails
   * with `passphrase-wrong` when the keys are not ours.
   */
  entrustWith(entrusted: EntrustedKeys): UnlockedRepository {
    const { publicKey, hashKey, openBoxes } = entrusted;
    const boxKeys = new EntrustedBoxKeys(openBoxes);
    const keys = { publicKey, hashKey, privateKey: undefined };
    return this.#unlockAs(keys, { keys: entrusted, boxKeys });
  }

  /** For a writer that reads nothing. Fails with `passphrase-wrong` when the keys are not ours. */
  writeWith({ publicKey, hashKey }: WriterKeys): WriterRepository {
    const keys = { publicKey, hashKey };
    const work = this.#workWith({ ...keys, privateKey: undefined });
    return new WriterRepository(this.run, this.#opened, { keys, work });
  }

  #unlockAs(keys: EngineKeys, unlocked: Omit<Unlocked, 'work'>): UnlockedRepository {
    const work = this.#workWith(keys);
    return new UnlockedRepository(this.run, this.#opened, { ...unlocked, work });
  }

  #workWith(keys: EngineKeys): ChunkWork {
    if (!matchesConfig(this.config, keys)) throw new CofferError('passphrase-wrong');
    const work = this.#opened.options.chunkPool.work(keys);
    this.#opened.work.push(work);
    return work;
  }

  get packSizeBytes(): number | undefined {
    return this.#opened.options.packSizeBytes;
  }

  /** True when sealed chunks of the other repository are valid here as they are. */
  sharesKeysWith(other: Repository): boolean {
    return (
      this.config.publicKey === other.config.publicKey &&
      this.config.hashKeyCheck === other.config.hashKeyCheck
    );
  }

  get context(): RepositoryContext {
    const { store, index, processes } = this;
    const { clock, random, signal } = this.run;
    const publicKey = Buffer.from(this.config.publicKey, 'hex');
    const last = (): ObjectStore =>
      interruptible(this.#opened.options.store, parting(this.run).signal);
    const { padding } = this.config;
    return { store, parting: last, index, clock, random, signal, processes, publicKey, padding };
  }

  /** Begins the run of a writer that moves sealed chunks as they are, and makes none. */
  async beginMove({ looksUpPacks }: Pick<SessionOptions<PackWriter>, 'looksUpPacks'> = {}): Promise<
    Session<PackWriter>
  > {
    return await this.begin({ looksUpPacks, makeWriter: (options) => new PackWriter(options) });
  }

  protected async begin<W extends PackWriter>(
    options: Omit<SessionOptions<W>, 'context' | 'packSizeBytes'>,
  ): Promise<Session<W>> {
    await finishCommittedSessions(this.store, ignoreDamaged);
    const { context, packSizeBytes } = this;
    return await Session.begin({ ...options, context, packSizeBytes });
  }

  /**
   * The points that exist and are not deleted, or those of the filter, which are read alone; oldest
   * first. Damaged ones are told to `onDamaged`, or thrown; when the keys are at hand, so are those
   * that no writer of this repository made.
   */
  async points(options: PointsOptions = {}): Promise<RecoveryPoint[]> {
    const { store, index } = this;
    const now = this.run.clock.now();
    return await readPoints({ ...options, store, index, now, hashKey: this.keys?.hashKey });
  }

  /**
   * Points that do not exist, since the newest sweep does not name them, though they are older: all,
   * or those of an item.
   */
  async countHiddenPoints(item?: string): Promise<number> {
    const state = await readGcState(this.store, this.index.sweeps);
    const folder = item === undefined ? undefined : itemFolder(item);
    return (await objectsPassedOver(this.store, state, folder)).length;
  }

  /** The record of a point as it is stored. */
  async readPointRecord({ item, generation, id }: RecoveryPoint): Promise<Buffer> {
    const name = pointObjectName(item, generation, id);
    const listed = await getRecordIfThere(this.store, name);
    if (listed) return listed;
    const filter = { item };
    const points = await storedPoints(this.store, { filter, onDamaged: ignoreDamaged });
    const unlisted = points.get(id)?.find((each) => each.name === name && each.bytes !== undefined);
    return unlisted?.bytes ?? (await getRecord(this.store, name));
  }

  /** Whether the point exists now. Points are removed while others work with them. */
  async isListed(point: Pick<RecoveryPoint, 'id' | 'item'>): Promise<boolean> {
    return (await this.listedAt(point)) !== undefined;
  }

  /**
   * When the point was listed first, in ms since 1970, by the store's clock; undefined when it does not
   * exist, or is not listed yet.
   */
  async listedAt({ id, item }: Pick<RecoveryPoint, 'id' | 'item'>): Promise<number | undefined> {
    const state = await readGcState(this.store, this.index.sweeps);
    let first: number | undefined;
    for await (const { name, createdAt } of this.store.list(itemFolder(item))) {
      const listed = parsePointObjectName(name);
      if (listed?.id !== id || !survives(listed, state)) continue;
      first = Math.min(first ?? createdAt, createdAt);
    }
    return first;
  }

  /**
   * Removes a point for good, with all that stands beside it; its chunks stay until the next garbage
   * collection. Fails with `point-held`.
   */
  async removePoint(point: Pick<RecoveryPoint, 'id' | 'item'>): Promise<void> {
    refuseAppendOnly(this.store);
    await this.#refuseHeld(point);
    // A committed session that is not cleaned up would list the point again.
    await finishCommittedSessions(this.store, ignoreDamaged);
    await noteRemoval(this.context, point.id);
    // One that was copied twice, or listed late, lies there under several generations.
    for await (const { name } of this.store.list(itemFolder(point.item))) {
      if (parsePointObjectName(name)?.id === point.id) await this.store.delete(name);
    }
    await removeRecordsOf(this.store, point.id);
  }

  /**
   * Hides a point, which is kept and can come back. It does not go by itself: from `until` on, in ms
   * since 1970, it is there to be purged, by `removePoint`. Fails with `point-held`.
   */
  async softDelete(
    point: Pick<RecoveryPoint, 'id'>,
    { until, by }: Pick<Deletion, 'until' | 'by'>,
  ): Promise<void> {
    // Whoever cannot delete could not bring it back.
    refuseAppendOnly(this.store);
    await this.#refuseHeld(point);
    await markDeleted(this.store, { point: point.id, at: this.run.clock.now(), until, by });
  }

  /** Shows a point again that was deleted for a while. */
  async undelete({ id }: Pick<RecoveryPoint, 'id'>): Promise<void> {
    refuseAppendOnly(this.store);
    await this.store.delete(deletionName(id));
  }

  /** True for a point that a repair has found to miss chunks: nothing may be built on it. */
  async isMarkedDamaged({ id }: Pick<RecoveryPoint, 'id'>): Promise<boolean> {
    return await isMarkedDamaged(this.store, id);
  }

  /** Holds a point, or changes the hold that the holder has on it. */
  async hold({ id }: Pick<RecoveryPoint, 'id'>, terms: HoldTerms): Promise<void> {
    await putHold(this.context, { ...terms, point: id, heldAt: this.run.clock.now() });
  }

  /** Ends the hold that the holder has, if any; those of others stay. */
  async release({ id }: Pick<RecoveryPoint, 'id'>, holder: string): Promise<void> {
    refuseAppendOnly(this.store);
    await this.store.delete(holdName({ point: id, holder }));
  }

  /** The holds that are in force, of points whose ids begin so. */
  async holds(idPrefix = ''): Promise<StoredHold[]> {
    const now = this.run.clock.now();
    const holds = await readHolds(this.store, await listHolds(this.store, idPrefix));
    return holds.filter((hold) => isInForce(hold, now));
  }

  async #refuseHeld({ id }: Pick<RecoveryPoint, 'id'>): Promise<void> {
    const [hold] = await this.holds(id);
    if (hold) throw new CofferError('point-held', { point: id, holder: hold.holder });
  }

  /**
   * Says of a point that exists when it arrived, under the key of the service. False when it has a
   * receipt: the first one counts.
   */
  async putReceipt(receipt: Receipt, key: Buffer): Promise<boolean> {
    return await putReceipt(this.store, receipt, key);
  }

  /** Undefined when there is none. Fails with `object-damaged`, also for one of another key. */
  async receipt({ id }: Pick<RecoveryPoint, 'id'>, key: Buffer): Promise<Receipt | undefined> {
    return await readReceipt(this.store, receiptName(id), key);
  }

  /** All receipts, by the ids of their points; damaged ones, and those of another key, are told. */
  async receipts(
    key: Buffer,
    onDamaged: (error: CofferError) => void,
  ): Promise<ReadonlyMap<string, Receipt>> {
    return await readReceipts(this.store, key, onDamaged);
  }
}

/** What a process has that reads without the private key. */
export interface EntrustedKeys extends WriterKeys {
  readonly openBoxes: OpenBoxes;
  /** What manifests say that were opened for it, by the ids of their points. */
  readonly manifests: ReadonlyMap<string, unknown>;
}

/**
 * A repository whose keys of writers are at hand: content can be made, and not read. Nodes of disks
 * can be, and what writers have noted, so that the next point costs what has changed.
 */
export class WriterRepository extends Repository {
  readonly work: ChunkWork;
  readonly #opened: Opened;
  readonly #keys: WriterKeys;

  /** Made by `Repository.writeWith`. */
  constructor(run: RunContext, opened: Opened, { keys, work }: Writing) {
    super(run, opened);
    this.#opened = opened;
    this.#keys = keys;
    this.work = work;
  }

  override during(run: RunContext): WriterRepository {
    return new WriterRepository(run, this.#opened, { keys: this.#keys, work: this.work });
  }

  override get keys(): WriterKeys {
    return this.#keys;
  }

  /** Reads nodes of disks. */
  diskNodes(): NodeReader {
    const { store, index, run } = this;
    const records = new RecordReader({ store, index, signal: run.signal });
    return new BodilessNodes(records, this.keys.hashKey);
  }

  /** What the writer of a point has noted. Fails with `object-damaged`. */
  openNotes(point: RecoveryPoint): unknown {
    return openNotesOf(point, this.keys);
  }

  /** Begins a writer's run. */
  async beginSession({
    readsBack,
    looksUpPacks,
  }: WritingOptions & Pick<SessionOptions<PackWriter>, 'looksUpPacks'> = {}): Promise<Session> {
    return await this.begin({ readsBack, looksUpPacks, makeWriter: this.#writerMaker() });
  }

  /**
   * Begins a writer's run that is an attempt of a job: of all of them one makes points. A process that
   * begins one ends those before it, of its own attempt, too; where one of them has committed, that is
   * given, and nothing begins. Fails with `session-fenced` when a later one has begun.
   */
  async beginAttempt(
    attempt: Attempt,
    { readsBack }: WritingOptions = {},
  ): Promise<BegunAttempt<ChunkWriter>> {
    await finishCommittedSessions(this.store, ignoreDamaged);
    const { context, packSizeBytes } = this;
    const makeWriter = this.#writerMaker();
    return await Session.beginAttempt({ readsBack, context, packSizeBytes, makeWriter }, attempt);
  }

  #writerMaker(): (options: PackWriterOptions) => ChunkWriter {
    const { work, keys } = this;
    return (options) => new ChunkWriter({ ...options, hashKey: keys.hashKey, work });
  }
}

/** The same, and content can be read: with the private key, or with what another party opens. */
export class UnlockedRepository extends WriterRepository {
  readonly #opened: Opened;
  readonly #unlocked: Unlocked;

  /** Made by `Repository.unlock` and `entrustWith`. */
  constructor(run: RunContext, opened: Opened, unlocked: Unlocked) {
    super(run, opened, unlocked);
    this.#opened = opened;
    this.#unlocked = unlocked;
  }

  override during(run: RunContext): UnlockedRepository {
    return new UnlockedRepository(run, this.#opened, this.#unlocked);
  }

  /** With the private key. Fails with `passphrase-missing` where another party has it. */
  get allKeys(): RepositoryKeys {
    const { keys } = this.#unlocked;
    if ('privateKey' in keys) return keys;
    throw new CofferError('passphrase-missing', { repository: this.location });
  }

  /** What the manifest of a point says. Fails with `key-refused` when nobody has opened it for us. */
  openManifest(point: RecoveryPoint): unknown {
    const { keys } = this.#unlocked;
    if ('privateKey' in keys) return openManifest(point, keys);
    if (keys.manifests.has(point.id)) return keys.manifests.get(point.id);
    throw new CofferError('key-refused', { what: 'manifest', point: point.id });
  }

  reader(): ChunkReader {
    const { store, index, run } = this;
    const { boxKeys, keys } = this.#unlocked;
    return new ChunkReader({ store, index, hashKey: keys.hashKey, boxKeys, signal: run.signal });
  }
}

interface WritingOptions {
  /** What is stored is read again before anything refers to it. */
  readonly readsBack?: boolean | undefined;
}

function openIndex(
  { repositoryId }: RepositoryConfig,
  { cacheFolder, place, ...options }: CachePlace & { readonly place: string },
): ChunkIndex {
  const ofPlace = digest(Buffer.from(place, 'utf8')).toString('hex', 0, 16);
  const folder = cacheFolder && join(cacheFolder, repositoryId, ofPlace);
  return ChunkIndex.open(folder, options);
}

/** What a damaged record promised is lost; who works beside it need not stop for it. */
function ignoreDamaged(): void {}
