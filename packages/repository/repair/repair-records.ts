/**
 * Repair of small records: what is damaged is dropped, or written anew where leaving it out would
 * mean something else. It comes before the session that repairs the rest, since no session can begin
 * as long as nobody knows what is condemned.
 */
import { type CofferError, isCofferError, tellFinding } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { repairConfig } from '../config-objects.ts';
import { formatGeneration, parseGeneration } from '../generations/generation.ts';
import {
  chainOf,
  type GcState,
  checkGcRecord,
  gcObjectName,
  type GcObject,
  listGcObjects,
  readGcState,
  writeDone,
  writeGcRecord,
} from '../generations/gc-record.ts';
import {
  decodeIndexObject,
  INDEX_OBJECT_SIZE_BYTES_MAX,
  indexGenerationOf,
} from '../index/index-codec.ts';
import { type AskNow, storeClock } from '../gc/store-clock.ts';
import { indexObjectsPassedOver, pointsPassedOver } from '../generations/passed-over.ts';
import { readKeySlots } from '../keys.ts';
import { decodePointObject, parsePointObjectName } from '../recovery-point.ts';
import { type Hold, parseHoldName, replaceHold } from '../hold.ts';
import { storedPoints } from '../points.ts';
import { lostPoints, noteRemoval, noteRemovalAnew, parseRemovalName } from '../removed-points.ts';
import type { Repository } from '../repository.ts';
import { CLOCK_DIFFERENCE_MS_MAX, LEASE_MS } from '../session/session.ts';
import {
  beginName,
  endName,
  listSessions,
  readBegin,
  readEnd,
  removeSession,
  type StoredSession,
  writeEnd,
} from '../session/session-record.ts';
import { listSmallRecords } from '../small-records.ts';
import { getRecord } from '../store-calls.ts';

export async function repairRecords(repository: Repository): Promise<void> {
  const { store } = repository;
  const isConfigTrue = repository.keys !== undefined;
  for (const { details } of await repairConfig(store, { isConfigTrue })) {
    tellOf(repository, 'record-renewed', String(details['object']));
  }
  await repairGcRecords(repository);
  const askNow = storeClock(repository);
  for (const session of await listSessions(store)) {
    await repairSession(repository, session, askNow);
  }
  await repairSmallRecords(repository);
  await dropKeySlots(repository);
}

function tellOf(
  { run }: Repository,
  code: 'record-renewed' | 'record-dropped' | 'point-dropped' | 'session-closed',
  name: string,
  damage?: CofferError,
): void {
  const details = { reason: damage?.details['reason'] };
  tellFinding(run, { code, subject: { kind: 'object', name }, details });
}

/** Deletes the points whose records are damaged, or made by no writer; returns their ids. */
export async function dropDamagedPoints(repository: Repository): Promise<string[]> {
  const { store } = repository;
  const hashKey = repository.keys?.hashKey;
  const dropped: string[] = [];
  for await (const { name } of store.list('points/')) {
    const point = parsePointObjectName(name);
    const damage =
      point &&
      (await damageOf(async () => decodePointObject(point, await getRecord(store, name), hashKey)));
    if (!point || !damage) continue;
    await noteRemoval(repository.context, point.id);
    await store.delete(name);
    dropped.push(point.id);
    tellOf(repository, 'point-dropped', name, damage);
  }
  return dropped;
}

/** From now on, points that are lost count as removed: what only they reached may go. */
export async function giveUpLostPoints(repository: Repository): Promise<void> {
  const { store, index, run, context } = repository;
  for (const name of await lostPoints(store, index.sweeps)) {
    tellFinding(run, { code: 'point-lost', subject: { kind: 'point', name }, details: {} });
    await noteRemoval(context, name);
  }
}

async function repairGcRecords(repository: Repository): Promise<void> {
  const { store } = repository;
  await dropJunk(repository);
  const objects = await listGcObjects(store);
  const newest = Math.max(0, ...objects.map(({ generation }) => generation));
  for (const object of objects) {
    const { name } = object;
    const damage = await damageOf(async () => checkGcRecord(object, await getRecord(store, name)));
    if (!damage) continue;
    await store.delete(name);
    const isRenewed = await replaceGcRecord(repository, object, newest);
    tellOf(repository, isRenewed ? 'record-renewed' : 'record-dropped', name, damage);
  }
  await replaceForgedSweep(repository);
}

/** Records that follow from no other, or that no collection could follow. */
async function dropJunk(repository: Repository): Promise<void> {
  const { store } = repository;
  for (;;) {
    const objects = await listGcObjects(store);
    const { generation } = chainOf(objects);
    const isLast = parseGeneration(formatGeneration(generation + 1)) === undefined;
    const junk = objects.filter(
      (each) => each.generation > generation || (isLast && each.generation === generation),
    );
    for (const { name } of junk) {
      tellOf(repository, 'record-dropped', name);
      await store.delete(name);
    }
    // Below one that was the last, there may be another such.
    if (!isLast) return;
  }
}

async function replaceForgedSweep(repository: Repository): Promise<void> {
  const { store } = repository;
  const state = await readGcState(store);
  if (!state.sweep || !(await isForged(repository, state))) return;
  const { generation } = state.sweep;
  const path = gcObjectName(generation, 'sweep');
  tellOf(repository, 'record-renewed', path);
  await store.delete(path);
  await writeSweepOfAll(repository, generation);
}

/**
 * Only someone who has the keys can tell that points are none that somebody has forged. Without them,
 * what hides points stays, whatever it hides of the index, so that no point that was removed comes back.
 */
async function isForged(repository: Repository, state: GcState): Promise<boolean> {
  const points = await pointsPassedOver(repository, state);
  if (points.length > 0) return repository.keys !== undefined;
  return (await indexObjectsPassedOver(repository.store, state)).length > 0;
}

/**
 * True when something stands in its place. A list of who is waited for can be made again later. A sweep that is done is written anew, as one
 * after which all counts that is there: what it has swept is gone. What was condemned is not known any
 * more, so all packs of earlier generations are: then sessions use none of them, and the collection
 * that goes on rescues what points reach.
 */
async function replaceGcRecord(
  repository: Repository,
  { step, generation }: GcObject,
  newest: number,
): Promise<boolean> {
  const { store, run } = repository;
  if (step === 'done') {
    await writeDone(store, generation);
    return true;
  }
  if (step === 'sweep' && (await store.stat(gcObjectName(generation, 'done')))) {
    await writeSweepOfAll(repository, generation);
    return true;
  }
  if (step !== 'condemned' || generation < newest) return false;
  // Whoever began in between did not know: they are to be waited for.
  await store.delete(gcObjectName(generation, 'waiting'));
  const packs = await packsBefore(generation, store);
  const collection = run.random.bytes(16).toString('hex');
  const rest = { sessions: [], indexObjects: [] };
  await writeGcRecord(store, 'condemned', { generation, collection, packs, ...rest });
  return true;
}

async function writeSweepOfAll({ store, run }: Repository, generation: number): Promise<void> {
  const survivors = new Set<string>();
  for await (const { name } of store.list('points/')) {
    const point = parsePointObjectName(name);
    if (point) survivors.add(point.id);
  }
  const indexObjects: string[] = [];
  for await (const { name } of store.list('index/')) {
    if (indexGenerationOf(name) !== undefined) indexObjects.push(name);
  }
  const collection = run.random.bytes(16).toString('hex');
  const record = { generation, collection, packs: [], survivors: [...survivors], indexObjects };
  await writeGcRecord(store, 'sweep', record);
}

/** Packs that were named before a generation, and not again since. */
async function packsBefore(generation: number, store: ObjectStore): Promise<string[]> {
  const earlier = new Set<string>();
  const later = new Set<string>();
  for await (const { name } of store.list('index/')) {
    const set = (indexGenerationOf(name) ?? generation) < generation ? earlier : later;
    await damageOf(async () => {
      const bytes = await store.get(name, { sizeBytesMax: INDEX_OBJECT_SIZE_BYTES_MAX });
      const packs = decodeIndexObject({ name, bytes });
      for (const { pack } of packs) set.add(pack.toString('hex'));
    });
  }
  return Array.from(earlier).filter((pack) => !later.has(pack));
}

/** A session that may still run is left alone: the next repair finds it ended. */
async function repairSession(
  repository: Repository,
  session: StoredSession,
  askNow: AskNow,
): Promise<void> {
  const { store } = repository;
  const id = session.session;
  const endDamage = await damageOf(() => readEnd(store, id));
  const beginDamage = await damageOf(() => readBegin(store, id));
  if (!endDamage && !beginDamage) return;
  const sinceMs = (await askNow()) - session.lastSignAt;
  if (sinceMs <= LEASE_MS && sinceMs >= -CLOCK_DIFFERENCE_MS_MAX) return;
  if (endDamage) {
    tellOf(repository, 'record-dropped', endName(id), endDamage);
    await removeSession(store, session);
  } else if (beginDamage) {
    tellOf(repository, 'session-closed', beginName(id), beginDamage);
    const end = { session: id, outcome: 'fenced', by: 'a repair' } as const;
    if (!session.hasEnd) await writeEnd(store, end);
    await store.delete(beginName(id));
  }
}

async function repairSmallRecords(repository: Repository): Promise<void> {
  const { store } = repository;
  for (const { name, check } of await listSmallRecords(store)) {
    const damage = await damageOf(check);
    if (!damage) continue;
    const isRenewed = await renewFromName(repository, name);
    if (!isRenewed) await store.delete(name);
    tellOf(repository, isRenewed ? 'record-renewed' : 'record-dropped', name, damage);
  }
}

/**
 * That a point is held, and for whom, is said by the name: it stays so as long as the point exists, and
 * until the holder releases it, since what ended the hold is not known any more. That somebody removed
 * a point is said by the name, too. Nothing else is made anew: a mark of a deletion has hidden nothing
 * since it is damaged, and nobody knows that anyone has put it; nobody here can make a receipt, and a
 * point without one is kept; a job that is tried again makes another point.
 */
async function renewFromName(repository: Repository, name: string): Promise<boolean> {
  const hold = parseHoldName(name);
  if (hold) {
    if (!(await exists(repository.store, hold.point))) return false;
    await renewHold(repository, hold);
    return true;
  }
  const removed = parseRemovalName(name);
  if (removed === undefined) return false;
  await noteRemovalAnew(repository.context, removed);
  return true;
}

async function exists(store: ObjectStore, point: string): Promise<boolean> {
  const ignoreDamaged = (): void => {};
  const filter = { idPrefix: point };
  return (await storedPoints(store, { filter, onDamaged: ignoreDamaged })).has(point);
}

async function renewHold(
  repository: Repository,
  { point, holder }: Pick<Hold, 'point' | 'holder'>,
): Promise<void> {
  const reason = 'what was said of the hold was damaged';
  const heldAt = repository.run.clock.now();
  await replaceHold(repository.context, { point, holder, reason, by: 'a repair', heldAt });
}

/** Only by someone who has the keys, and never the last one: a part of it may be read by hand. */
async function dropKeySlots(repository: Repository): Promise<void> {
  const { store } = repository;
  const damaged: string[] = [];
  const intact = await readKeySlots(repository, (_, name) => damaged.push(name));
  if (!repository.keys || intact.length === 0) return;
  for (const name of damaged) {
    tellOf(repository, 'record-dropped', name);
    await store.delete(name);
  }
}

/** Undefined for what is intact, or gone meanwhile. */
async function damageOf(check: () => Promise<unknown>): Promise<CofferError | undefined> {
  try {
    await check();
    return undefined;
  } catch (error) {
    if (isCofferError(error, 'object-damaged')) return error;
    if (isCofferError(error, 'object-not-found')) return undefined;
    throw error;
  }
}
