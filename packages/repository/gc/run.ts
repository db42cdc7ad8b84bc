/**
 * Garbage collection. It marks what points reach, moves what is live out of wasteful packs, condemns
 * packs, waits for the sessions that may not know that, and then deletes. It can be killed between
 * any two writes; the next one carries it on. PROTOCOL.md has the argument why nothing live is lost.
 */
import { CofferError, isCofferError, tellPhase } from '@coffer/base';
import { refuseAppendOnly } from '@coffer/storage/object-store.ts';
import type { ChunkId } from '../chunk/chunk-id.ts';
import { RecordReader } from '../chunk/record-reader.ts';
import { writeReplacements } from '../index/leave-out.ts';
import { StoredPacks } from '../pack/stored-packs.ts';
import type { ChunkIndex, IndexedPack } from '../index/chunk-index.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { lostPoints } from '../removed-points.ts';
import type { Relied } from '../session/pack-writer.ts';
import { finishCommittedSessions } from '../session/finish.ts';
import { listSessions } from '../session/session-record.ts';
import { endExpired, hasEndedSessions } from './expired-sessions.ts';
import {
  agreeOnSweep,
  agreeOnWaiting,
  type CondemnedRecord,
  type GcState,
  readGcState,
  type SweepRecord,
  writeGcRecord,
} from '../generations/gc-record.ts';
import { requireDecided } from './decided.ts';
import { changedMeanwhile, synchronize } from './index-in-step.ts';
import { dropJunkRecords } from './junk-records.ts';
import { removeLeftovers } from './leftovers.ts';
import { pointsPassedOver } from '../generations/passed-over.ts';
import { pointsToKeep, type PointsToKeep, tellDamaged } from './points-to-keep.ts';
import { LiveSet, type LiveSetOptions } from '../reach/live-set.ts';
import {
  GC_PLAN_DEFAULTS,
  type GcPlan,
  type GcPlanOptions,
  type PackFacts,
  planGc,
} from './plan.ts';
import { NOTHING_MOVED, repack, requireMoved } from './repack.ts';
import { type AskNow, storeClock } from './store-clock.ts';
import { removeOldRecords, sweep } from './sweep.ts';

export interface GcOptions {
  readonly repository: Repository;
  readonly dryRun?: boolean | undefined;
  readonly plan?: GcPlanOptions | undefined;
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
  const { repository } = options;
  const { store, run } = repository;
  if (options.dryRun) return { outcome: 'planned', plan: (await makePlan(options)).plan };
  refuseAppendOnly(store);
  const askNow = storeClock(repository);
  await finishCommittedSessions(store, (error, name) => tellDamaged(repository, error, name));
  const state = await readGcState(store);
  await refusePassingOver(repository, state);
  await refuseLost(repository);
  const { unfinished } = state;
  if (unfinished) {
    return await unlessOvertaken(repository, state, () =>
      carryOn({ ...options, askNow }, unfinished, undefined),
    );
  }
  await dropJunkRecords(repository, await readGcState(store));
  const planned = await unlessOvertaken(repository, state, () => makePlan(options));
  const { plan } = planned;
  const packs = [...plan.remove, ...plan.repack];
  if (packs.length === 0 && !(await hasEndedSessions(repository, askNow))) {
    // The last one may have been killed before it could.
    await removeOldRecords(store, state.generation);
    await removeLeftovers(repository, askNow);
    return { outcome: 'nothing-to-do', plan };
  }
  const moved = await unlessOvertaken(repository, state, () =>
    repack(repository, planned, state.generation),
  );
  await requireMoved(repository, moved);
  const collection = run.random.bytes(16).toString('hex');
  // Listed before the packs are condemned, so all of these belong to earlier generations.
  const sessions = (await listSessions(store)).map(({ session }) => session);
  const indexObjects = [...(await synchronize(repository)).objects];
  const record = { generation: state.generation + 1, collection, packs, sessions, indexObjects };
  await condemn(repository, record);
  const condemned = { ...state, generation: record.generation, unfinished: record };
  return await unlessOvertaken(repository, condemned, () =>
    carryOn({ ...options, askNow }, record, { ...planned, moved }),
  );
}

/** What it passes over would be deleted for good. */
async function refusePassingOver(repository: Repository, state: GcState): Promise<void> {
  const passedOver = await pointsPassedOver(repository, state);
  if (passedOver.length === 0) return;
  const reason = 'the newest sweep passes over points that are older than it';
  throw new CofferError('repository-damaged', { reason, points: passedOver.length });
}

/** What only those points reached would be deleted, so that they could not come back. */
async function refuseLost({ store, index }: Repository): Promise<void> {
  const lost = await lostPoints(store, index.sweeps);
  if (lost.length === 0) return;
  const reason = 'points are gone that nobody has removed';
  throw new CofferError('repository-damaged', { reason, points: lost.length, first: lost[0] });
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

async function makePlan({ repository, plan }: GcOptions): Promise<Planned> {
  const { index, store, run } = repository;
  const { signal } = run;
  tellPhase(run, 'mark');
  // Points first: what is listed then, the index objects that are read afterwards know.
  const kept = await pointsToKeep(repository);
  const { points } = kept;
  const { objects, unreadable } = await synchronize(repository);
  const records = new RecordReader({ store, index, signal });
  const accepts = index.acceptor(objects);
  const stored = await StoredPacks.list(store, signal);
  const isThere = stored.acceptor(index);
  const live = await markOrRefuse({ index, records, accepts, isThere, signal }, kept);
  const named = packsNamed(index, stored, live);
  // What a damaged index object names is not known; it may be any pack that no other one does.
  const facts = unreadable.size > 0 ? named : [...named, ...packsUnnamed(stored, named, live)];
  return {
    plan: planGc(facts, plan ?? GC_PLAN_DEFAULTS),
    live,
    stored,
    moved: NOTHING_MOVED,
    marked: new Set(points.map(({ id }) => id)),
    objects,
  };
}

/** What a missing node reaches would be taken for garbage. */
async function markOrRefuse(
  options: LiveSetOptions,
  { points, rootsOfDamaged }: Pick<PointsToKeep, 'points' | 'rootsOfDamaged'>,
): Promise<LiveSet> {
  const unreadable: CofferError[] = [];
  const onUnreadable = (_id: ChunkId, error: CofferError): void => void unreadable.push(error);
  const live = new LiveSet({ ...options, onUnreadable });
  await live.mark(points.flatMap(rootsOf));
  if (unreadable[0]) throw unreadable[0];
  const [first] = live.missing;
  const chunksMissing = live.missing.length;
  if (first) {
    throw new CofferError('repository-damaged', { chunksMissing, chunk: first.toString('hex') });
  }
  await live.mark(rootsOfDamaged);
  return live;
}

function rootsOf(point: RecoveryPoint): Buffer[] {
  return point.roots.map(({ root }) => Buffer.from(root, 'hex'));
}

/** The packs that index objects name. */
function packsNamed(index: ChunkIndex, stored: StoredPacks, live: LiveSet): PackFacts[] {
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
  return [...facts.values()];
}

/** The packs that no index object names: they hold nothing that is reachable. */
function packsUnnamed(
  stored: StoredPacks,
  named: readonly PackFacts[],
  live: LiveSet,
): PackFacts[] {
  const known = new Set(named.map(({ pack }) => pack));
  const unnamed: PackFacts[] = [];
  for (const { pack: id, sizeBytes } of stored.all()) {
    const pack = id.toString('hex');
    if (known.has(pack)) continue;
    // One that was marked was named: another process has taken it out of the index meanwhile.
    if (live.entries.use(pack)) throw changedMeanwhile();
    unnamed.push({ pack, sizeBytes, entryCount: 0, liveCount: 0, liveBytes: 0 });
  }
  return unnamed;
}

const NO_USE = { count: 0, bytes: 0 };

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
  options: GcOptions & { readonly askNow: AskNow },
  condemned: CondemnedRecord,
  planned: Planned | undefined,
): Promise<GcResult> {
  const { repository, askNow } = options;
  const { store, run } = repository;
  const { generation, collection } = condemned;
  const listed = (await listSessions(store)).map(({ session }) => session);
  const { sessions } = await agreeOnWaiting(store, { generation, collection, sessions: listed });
  tellPhase(run, 'wait-for-sessions');
  const open = await endExpired(repository, sessions, askNow);
  if (open > 0) return { outcome: 'waiting', sessions: open, plan: planned?.plan };
  await finishCommittedSessions(store, (error, name) => tellDamaged(repository, error, name));
  const proposed = await rescue(options, condemned, planned);
  await requireMoved(repository, planned?.moved ?? NOTHING_MOVED);
  const { untouched: _, ...own } = proposed;
  const record = await agreeOnSweep(store, own);
  // Once a later collection is done, the sweep of this one is gone, and nobody agreed on ours.
  await requireDecided(repository, record);
  refuseForged(record, proposed, condemned);
  tellPhase(run, 'sweep');
  const bytesFreed = await sweep(repository, record, condemned.sessions);
  await removeLeftovers(repository, askNow);
  return { outcome: 'done', packsRemoved: record.packs.length, bytesFreed, plan: planned?.plan };
}

/**
 * Whoever agrees on a sweep has condemned its packs, and has seen the points that are there, what these
 * need, and the index objects that name no condemned pack.
 */
function refuseForged(
  { packs, survivors, indexObjects }: SweepRecord,
  proposed: Proposed,
  { generation }: CondemnedRecord,
): void {
  const removable = new Set(proposed.packs);
  const [points, objects] = [new Set(survivors), new Set(indexObjects)];
  const isRight =
    packs.every((pack) => removable.has(pack)) &&
    proposed.survivors.every((id) => points.has(id)) &&
    proposed.untouched.every((name) => objects.has(name));
  if (isRight) return;
  const reason = 'its sweep names packs, points or index objects as no collection does';
  throw new CofferError('repository-damaged', { reason, generation });
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

/** A sweep, before it is agreed on. */
interface Proposed extends SweepRecord {
  /** Index objects of before the collection that name no condemned pack. */
  readonly untouched: readonly string[];
}

/**
 * Takes off the list what sessions committed meanwhile reach. What was marked for the plan is not
 * looked at again, as long as it lies where it was seen.
 */
async function rescue(
  { repository }: GcOptions,
  { generation, collection, packs, indexObjects: named }: CondemnedRecord,
  planned: Planned | undefined,
): Promise<Proposed> {
  const { index, store, run } = repository;
  const { signal } = run;
  tellPhase(run, 'mark');
  const condemned = new Set(packs);
  const known = new Set(named);
  const { points, damaged, rootsOfDamaged } = await pointsToKeep(repository);
  const { objects, unreadable } = await synchronize(repository);
  const isAsSeen = planned && liesAsPlanned(repository, planned, { objects, condemned });
  const marked = isAsSeen ? planned.marked : new Set<string>();
  const live = await markOrRefuse(
    {
      index,
      records: new RecordReader({ store, index, signal }),
      accepts: index.acceptor(objects),
      isLeaving: (number) => condemned.has(stillKnown(index, number).pack.toString('hex')),
      signal,
    },
    { points: points.filter(({ id }) => !marked.has(id)), rootsOfDamaged },
  );
  for (const pack of live.entries.packs()) condemned.delete(pack);
  // Written before the sweep is: from then on they count, and those that they replace do not.
  const { replaced, written } = await writeReplacements(repository, condemned, {
    generation: generation - 1,
    objects: new Set([...objects].filter((name) => !unreadable.has(name))),
  });
  const gone = new Set(replaced);
  const untouched = [...objects].filter((name) => !gone.has(name));
  // Those of this generation and later ones exist, whatever it says.
  const earlier = points.filter((point) => point.generation < generation).map(({ id }) => id);
  return {
    generation,
    collection,
    packs: [...condemned],
    survivors: [...earlier, ...damaged],
    indexObjects: [...untouched, ...written],
    untouched: untouched.filter((name) => known.has(name)),
  };
}

/** Fails with `gc-superseded` when another process has taken the pack out of the index meanwhile. */
function stillKnown(index: ChunkIndex, packNumber: number): IndexedPack {
  const pack = index.pack(packNumber);
  if (pack) return pack;
  throw changedMeanwhile();
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
