/**
 * Garbage collection. It marks what points reach, moves what is live out of wasteful packs, condemns
 * packs, waits for the sessions that may not know that, and then deletes. It can be killed between
 * any two writes; the next one carries it on. PROTOCOL.md has the argument why nothing live is lost.
 */
import { CofferError, digest, isCofferError } from '@coffer/base';
import { type ObjectStore, refuseAppendOnly } from '@coffer/storage/object-store.ts';
import type { ChunkId } from '../chunk/chunk-id.ts';
import { RecordReader } from '../chunk/record-reader.ts';
import { writeReplacements } from '../index/leave-out.ts';
import { moveChunks } from '../pack/move-chunks.ts';
import type { MovedChunk } from '../pack/pack-builder.ts';
import { StoredPacks } from '../pack/stored-packs.ts';
import type { ChunkIndex } from '../index/chunk-index.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { PackWriter, type Relied } from '../session/pack-writer.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { CLOCK_DIFFERENCE_MS_MAX, finishCommittedSessions, LEASE_MS } from '../session/session.ts';
import {
  listSessions,
  readBegin,
  type SessionBegin,
  type StoredSession,
  writeEnd,
} from '../session/session-record.ts';
import {
  agreeOnSweep,
  agreeOnWaiting,
  type CondemnedRecord,
  type GcState,
  readGcState,
  type SweepRecord,
  writeGcRecord,
} from './gc-record.ts';
import { removeLeftovers } from './leftovers.ts';
import { pointsPassedOver } from './passed-over.ts';
import { LiveSet, type LiveSetOptions, Wholeness } from './live-set.ts';
import {
  GC_PLAN_DEFAULTS,
  type GcPlan,
  type GcPlanOptions,
  type PackFacts,
  planGc,
} from './plan.ts';
import { removeOldRecords, sweep } from './sweep.ts';

export interface GcOptions {
  readonly repository: Repository;
  readonly dryRun?: boolean | undefined;
  readonly plan?: GcPlanOptions | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type GcResult =
  | { readonly outcome: 'planned'; readonly plan: GcPlan }
  | { readonly outcome: 'nothing-to-do'; readonly plan: GcPlan }
  /** Sessions that began before the packs were condemned still run; the next collection goes on. */
  | { readonly outcome: 'waiting'; readonly sessions: number; readonly plan: GcPlan | undefined }
  | {
      readonly outcome: 'done';
      readonly packsRemoved: number;
      readonly bytesFreed: number;
      /** Undefined when an earlier collection was carried on. */
      readonly plan: GcPlan | undefined;
    };

export async function collectGarbage(options: GcOptions): Promise<GcResult> {
  const { repository, signal } = options;
  const { store } = repository;
  if (options.dryRun) return { outcome: 'planned', plan: (await makePlan(options)).plan };
  refuseAppendOnly(store);
  await finishCommittedSessions(store);
  const state = await readGcState(store);
  await refusePassingOver(repository, state);
  const { unfinished } = state;
  if (unfinished) {
    return await unlessOvertaken(repository, state, () => carryOn(options, unfinished, undefined));
  }
  const planned = await unlessOvertaken(repository, state, () => makePlan(options));
  const { plan } = planned;
  const packs = [...plan.remove, ...plan.repack];
  if (packs.length === 0 && !(await hasEndedSessions(repository))) {
    // The last one may have been killed before it could.
    await removeOldRecords(store, state.generation);
    await removeLeftovers(repository);
    return { outcome: 'nothing-to-do', plan };
  }
  const moved = await unlessOvertaken(repository, state, () =>
    repack(options, planned, state.generation),
  );
  await requireMoved(repository, { ...planned, moved });
  const collection = repository.random.bytes(16).toString('hex');
  // Listed before the packs are condemned, so all of these belong to earlier generations.
  const sessions = (await listSessions(store)).map(({ session }) => session);
  const indexObjects = [...(await synchronizeOrRefuse(repository, signal))];
  const record = { generation: state.generation + 1, collection, packs, sessions, indexObjects };
  await condemn(repository, record);
  const condemned = { ...state, generation: record.generation, unfinished: record };
  return await unlessOvertaken(repository, condemned, () =>
    carryOn(options, record, { ...planned, moved }),
  );
}

/** What it passes over would be deleted for good. */
async function refusePassingOver(repository: Repository, state: GcState): Promise<void> {
  const passedOver = await pointsPassedOver(repository, state);
  if (passedOver.length === 0) return;
  const reason = 'the newest sweep passes over points that are older than it';
  throw new CofferError('repository-damaged', { reason, points: passedOver.length });
}

interface Planned {
  readonly plan: GcPlan;
  readonly live: LiveSet;
  readonly stored: StoredPacks;
  /** What was moved out of packs that are to go. */
  readonly moved: Relied;
  /** Ids of the points that were marked. */
  readonly marked: ReadonlySet<string>;
  /** Index objects that counted then. */
  readonly objects: ReadonlySet<string>;
}

async function makePlan({ repository, plan, signal }: GcOptions): Promise<Planned> {
  const { index, store } = repository;
  // Points first: what is listed then, the index objects that are read afterwards know.
  const points = await repository.points({ deleted: true });
  const objects = await synchronizeOrRefuse(repository, signal);
  const records = new RecordReader({ store, index, signal });
  const accepts = index.acceptor(objects);
  const live = await markOrRefuse({ index, records, accepts, signal }, points);
  const stored = await StoredPacks.list(store, signal);
  return {
    plan: planGc(packFacts(index, stored, live), plan ?? GC_PLAN_DEFAULTS),
    live,
    stored,
    moved: NOTHING_MOVED,
    marked: new Set(points.map(({ id }) => id)),
    objects,
  };
}

/** What an index object that cannot be read names would be taken for garbage. */
async function synchronizeOrRefuse(
  { index, store }: Repository,
  signal?: AbortSignal,
): Promise<ReadonlySet<string>> {
  const { damaged, objects } = await index.synchronize(store, signal);
  const [first] = damaged;
  if (first) throw new CofferError('repository-damaged', { reason: first.message }, first);
  return objects;
}

/**
 * What a missing node reaches would be taken for garbage. What only a forged place of a node names may
 * be missing: then each root has to be whole by other places.
 */
async function markOrRefuse(
  options: LiveSetOptions,
  points: readonly RecoveryPoint[],
): Promise<LiveSet> {
  const live = new LiveSet(options);
  const roots = points.flatMap(rootsOf);
  await live.mark(roots);
  const [first] = live.missing;
  if (!first) return live;
  if (live.differing.length > 0 && (await areWhole(options, roots))) return live;
  const chunksMissing = live.missing.length;
  throw new CofferError('repository-damaged', { chunksMissing, chunk: first.toString('hex') });
}

async function areWhole(options: LiveSetOptions, roots: readonly ChunkId[]): Promise<boolean> {
  const wholeness = new Wholeness(options);
  for (const root of roots) if (!(await wholeness.isWhole(root))) return false;
  return true;
}

function rootsOf(point: RecoveryPoint): Buffer[] {
  return point.roots.map(({ root }) => Buffer.from(root, 'hex'));
}

/** All packs of the store; those that no index object names hold nothing that is reachable. */
function packFacts(index: ChunkIndex, stored: StoredPacks, live: LiveSet): PackFacts[] {
  const facts = new Map<string, PackFacts>();
  // Several index objects may name a pack, each under its own number.
  for (const { pack: id, entryCount } of index.packs()) {
    const pack = id.toString('hex');
    const { count: liveCount, bytes: liveBytes } = live.entries.use(pack) ?? NO_USE;
    const sizeBytes = stored.sizeOf(id) ?? 0;
    // Out of one that is missing, nothing can be moved; it is named until nothing needs it.
    if (sizeBytes === 0 && liveCount > 0) continue;
    const entries = Math.max(entryCount, facts.get(pack)?.entryCount ?? 0);
    facts.set(pack, { pack, sizeBytes, entryCount: entries, liveCount, liveBytes });
  }
  for (const { pack: id, sizeBytes } of stored.all()) {
    const pack = id.toString('hex');
    if (facts.has(pack)) continue;
    // One that was marked was named: another process has taken it out of the index meanwhile.
    if (live.entries.use(pack)) throw changedMeanwhile();
    facts.set(pack, { pack, sizeBytes, entryCount: 0, liveCount: 0, liveBytes: 0 });
  }
  return [...facts.values()];
}

const NO_USE = { count: 0, bytes: 0 };
const NOTHING_MOVED: Relied = { objects: [], packs: [], found: new Map() };

/** Nothing was condemned; what another process did to the index is to be seen first. */
function changedMeanwhile(): CofferError {
  return new CofferError('gc-superseded', { reason: 'the index was changed meanwhile' });
}

/** Moves what is live out of the packs that are to go, into packs that no plan knows yet. */
async function repack(
  { repository, signal }: GcOptions,
  { plan, live, stored }: Planned,
  generation: number,
): Promise<Relied> {
  if (plan.repack.length === 0) return NOTHING_MOVED;
  const { index, context, packSizeBytes } = repository;
  const absent = new Set([...plan.remove, ...plan.repack]);
  const objects = await synchronizeOrRefuse(repository, signal);
  const acceptsPack = index.acceptor(objects, absent);
  const writer = new PackWriter({ context, generation, acceptsPack, packSizeBytes, signal });
  const records = new RecordReader({ store: repository.store, index, signal });
  const moved = new Set<string>();
  // That a pack which stays has the id says little: only the same bytes make a move needless.
  const move = async (chunk: MovedChunk): Promise<void> => {
    if (index.places(chunk.entry.id).length < 2) {
      await writer.move(chunk);
      return;
    }
    const bytes = digest(chunk.record).toString('latin1');
    if (moved.has(bytes)) return;
    if (await records.isAmong(chunk, index.places(chunk.entry.id, acceptsPack))) return;
    moved.add(bytes);
    await writer.moveBeside(chunk);
  };
  const left = new Set(plan.repack);
  // A pack that several index objects name is moved once, as one says that knows its size.
  const packs = [...index.packs()].filter(
    (pack) => stored.has(pack) && left.delete(pack.pack.toString('hex')),
  );
  const isNamed = [...index.packs()].some(({ pack }) => left.has(pack.toString('hex')));
  if (isNamed) throw new CofferError('repository-damaged', { packsMissing: left.size });
  if (left.size > 0) throw changedMeanwhile();
  try {
    await moveChunks({ source: repository, packs, wanted: live.entries, move, signal });
    await writer.flush();
    return writer.relied;
  } finally {
    await writer.close();
  }
}

async function condemn({ store }: Repository, record: CondemnedRecord): Promise<void> {
  const { generation, collection } = record;
  try {
    await writeGcRecord(store, 'condemned', record);
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
    throw new CofferError('gc-superseded', { generation }, error);
  }
  // The name is free again once a collection of this generation is done: then our record is not
  // the newest, nobody takes notice of it, and its plan is out of date.
  const { unfinished } = await readGcState(store);
  if (unfinished?.collection !== collection) throw new CofferError('gc-superseded', { generation });
}

/** From the condemned list to the end; every step can be repeated, by anyone. */
async function carryOn(
  options: GcOptions,
  condemned: CondemnedRecord,
  planned: Planned | undefined,
): Promise<GcResult> {
  const { repository, signal } = options;
  const { store } = repository;
  const { generation, collection } = condemned;
  const listed = (await listSessions(store)).map(({ session }) => session);
  const { sessions } = await agreeOnWaiting(store, { generation, collection, sessions: listed });
  const open = await endExpired(repository, sessions);
  if (open > 0) return { outcome: 'waiting', sessions: open, plan: planned?.plan };
  await finishCommittedSessions(store);
  const proposed = await rescue(options, condemned, planned);
  signal?.throwIfAborted();
  await requireMoved(repository, planned);
  const record = await agreeOnSweep(store, proposed);
  await refuseOvertaken(store, record);
  refuseForged(record, proposed, condemned);
  const bytesFreed = await sweep(repository, record, condemned.sessions);
  await removeLeftovers(repository);
  return { outcome: 'done', packsRemoved: record.packs.length, bytesFreed, plan: planned?.plan };
}

/**
 * Once a later collection is done, the sweep record of this one is gone, and what we wrote in its
 * place was agreed on by nobody. While no later sweep is decided, it is the one that counts.
 */
async function refuseOvertaken(
  store: ObjectStore,
  { generation, collection }: SweepRecord,
): Promise<void> {
  const { sweep: newest } = await readGcState(store);
  if (newest?.collection === collection) return;
  throw new CofferError('gc-superseded', { generation });
}

/** Whoever agrees on a sweep has condemned its packs, and has seen the points that are there. */
function refuseForged(
  { packs, survivors }: SweepRecord,
  proposed: SweepRecord,
  condemned: CondemnedRecord,
): void {
  const [known, named] = [new Set(condemned.packs), new Set(survivors)];
  const isRight =
    packs.every((pack) => known.has(pack)) && proposed.survivors.every((id) => named.has(id));
  if (isRight) return;
  const reason = 'its sweep names packs or points as no collection does';
  throw new CofferError('repository-damaged', { reason, generation: condemned.generation });
}

/** A store that was set back has lost what was moved out of the packs that are to go. */
async function requireMoved({ store }: Repository, planned: Planned | undefined): Promise<void> {
  const { objects, packs } = planned?.moved ?? NOTHING_MOVED;
  if (packs.length === 0) return;
  const stored = await StoredPacks.list(store);
  const lostPack = packs.find((pack) => !stored.has(pack));
  if (lostPack)
    throw new CofferError('store-rolled-back', { object: packObjectName(lostPack.pack) });
  for (const object of objects) {
    if (!(await store.stat(object))) throw new CofferError('store-rolled-back', { object });
  }
}

/**
 * What looks like damage may be the work of another collection that was faster: points that we saw
 * were removed and swept. Fails with `gc-superseded` then.
 */
async function unlessOvertaken<T>(
  { store }: Repository,
  before: GcState,
  task: () => Promise<T>,
): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (!isCofferError(error) || error.row.retry === 'later') throw error;
    const after = await readGcState(store);
    const isSame =
      after.generation === before.generation &&
      (after.unfinished === undefined) === (before.unfinished === undefined) &&
      after.sweep?.generation === before.sweep?.generation;
    if (isSame) throw error;
    throw new CofferError('gc-superseded', { generation: after.generation }, error);
  }
}

/**
 * Takes off the list what sessions committed meanwhile reach. What was marked for the plan is not
 * looked at again, as long as it lies where it was seen.
 */
async function rescue(
  { repository, signal }: GcOptions,
  { generation, collection, packs }: CondemnedRecord,
  planned: Planned | undefined,
): Promise<SweepRecord> {
  const { index, store } = repository;
  const condemned = new Set(packs);
  const points = await repository.points({ deleted: true });
  const objects = await synchronizeOrRefuse(repository, signal);
  const isAsSeen = planned && liesAsPlanned(repository, planned, { objects, condemned });
  const marked = isAsSeen ? planned.marked : new Set<string>();
  const live = await markOrRefuse(
    {
      index,
      records: new RecordReader({ store, index, signal }),
      accepts: index.acceptor(objects),
      isLeaving: (number) => condemned.has(index.requiredPack(number).pack.toString('hex')),
      signal,
    },
    points.filter(({ id }) => !marked.has(id)),
  );
  for (const pack of live.entries.packs()) condemned.delete(pack);
  // Written before the sweep is: from then on they count, and those that they replace do not.
  const { replaced, written } = await writeReplacements(repository, condemned, {
    generation: generation - 1,
    objects,
  });
  const gone = new Set(replaced);
  const indexObjects = [...objects].filter((name) => !gone.has(name));
  return {
    generation,
    collection,
    packs: [...condemned],
    survivors: points.map(({ id }) => id),
    indexObjects: [...indexObjects, ...written],
  };
}

/**
 * False when a repair was at work since the plan: an index object is gone, so chunks may be in other
 * packs now, or a new one names a pack that no object named, and that was condemned for it.
 */
function liesAsPlanned(
  { index }: Repository,
  planned: Planned,
  now: { readonly objects: ReadonlySet<string>; readonly condemned: ReadonlySet<string> },
): boolean {
  for (const object of planned.objects) if (!now.objects.has(object)) return false;
  for (const { pack, object } of index.packs()) {
    if (now.condemned.has(pack.toString('hex')) && !planned.objects.has(object)) return false;
  }
  return true;
}

/** Fences the sessions that gave no sign of life for too long; returns how many are open. */
async function endExpired(repository: Repository, waiting: readonly string[]): Promise<number> {
  const { store, clock } = repository;
  const wanted = new Set(waiting);
  let open = 0;
  for (const session of await listSessions(store)) {
    if (!wanted.has(session.session) || session.hasEnd) continue;
    if (await isExpired(repository, session, clock.now())) {
      const end = {
        session: session.session,
        outcome: 'fenced',
        by: 'a garbage collection',
      } as const;
      await writeEnd(store, end);
    } else {
      open++;
    }
  }
  return open;
}

async function isExpired(
  { store, processes }: Repository,
  session: StoredSession,
  now: number,
): Promise<boolean> {
  if (now - session.lastSignAt > LEASE_MS) return true;
  // Of a clock that is so wrong, nobody would see the lease end.
  if (session.lastSignAt - now > CLOCK_DIFFERENCE_MS_MAX) return true;
  const begin = await readBeginIfIntact(store, session.session);
  return begin?.process !== undefined && processes.hasEnded(begin.process);
}

/** Of a session whose begin is damaged, the lease alone tells whether it lives. */
async function readBeginIfIntact(
  store: ObjectStore,
  session: string,
): Promise<SessionBegin | undefined> {
  try {
    return await readBegin(store, session);
  } catch (error) {
    if (isCofferError(error, 'object-damaged')) return undefined;
    throw error;
  }
}

/** Sessions that were abandoned or fenced are cleaned up by the next sweep. */
async function hasEndedSessions(repository: Repository): Promise<boolean> {
  const { store, clock } = repository;
  for (const session of await listSessions(store)) {
    if (session.hasEnd || (await isExpired(repository, session, clock.now()))) return true;
  }
  return false;
}
