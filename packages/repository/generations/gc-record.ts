/**
 * The records of garbage collections. Each has a generation; its objects are, in the order they are
 * written: `condemned` (packs that new sessions treat as absent), `waiting` (sessions that may not
 * know that), `sweep` (packs that are deleted for good, and the points that survive from before),
 * `done`. FORMAT.md, section 14; PROTOCOL.md.
 */
import { CofferError, isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { formatGeneration, parseGeneration } from './generation.ts';
import { indexGenerationOf } from '../index/index-codec.ts';
import { count, decodeRecord, encodeChecked, hexOf, refuseUnreadable } from '../record.ts';
import { POINT_ID_SIZE_BYTES } from '../recovery-point.ts';
import { getRecord, putIfAbsent } from '../store-calls.ts';

const Condemned = v.object({
  generation: count,
  /** Random, so that of two collections at once only one can take the record for its own. */
  collection: hexOf(16),
  packs: v.array(hexOf(32)),
  /** Sessions that began before; what is left of them is removed in the end. */
  sessions: v.array(hexOf(16)),
  /** Names of the index objects that were there: the sweep will count them, or what replaces them. */
  indexObjects: v.array(v.string()),
});

const Waiting = v.object({
  generation: count,
  /** Of the condemned record that it belongs to; so nobody can write it before that is there. */
  collection: hexOf(16),
  sessions: v.array(hexOf(16)),
});

const Sweep = v.object({
  generation: count,
  /** As in the waiting record. */
  collection: hexOf(16),
  packs: v.array(hexOf(32)),
  survivors: v.array(hexOf(POINT_ID_SIZE_BYTES)),
  /** Names of the index objects of earlier generations that count. */
  indexObjects: v.array(v.string()),
});

export type CondemnedRecord = v.InferOutput<typeof Condemned>;
export type WaitingRecord = v.InferOutput<typeof Waiting>;
export type SweepRecord = v.InferOutput<typeof Sweep>;

export type GcStep = 'condemned' | 'waiting' | 'sweep' | 'done';

/** What the garbage collections so far mean for everyone else. */
export interface GcState {
  /** Of the newest collection; 0 before the first. */
  readonly generation: number;
  /** The newest collection, while it is not done. */
  readonly unfinished: CondemnedRecord | undefined;
  /** The newest sweep: what it does not name among the survivors does not exist any more. */
  readonly sweep: SweepRecord | undefined;
}

export interface GcObject {
  readonly name: string;
  readonly generation: number;
  readonly step: GcStep;
}

interface StoredGcObject extends GcObject {
  readonly sizeBytes: number;
}

/** Remembers the newest sweep, so that it is read once. */
export interface SweepMemory {
  /** One of this name that begins so, and is so long. */
  find(name: string, head: Buffer, sizeBytes: number): SweepRecord | undefined;
  keep(name: string, bytes: Buffer, sweep: SweepRecord): void;
}

export function gcObjectName(generation: number, step: GcStep): string {
  return `gc/${formatGeneration(generation)}-${step}`;
}

export async function writeGcRecord(
  store: ObjectStore,
  step: GcStep,
  record: CondemnedRecord | WaitingRecord | SweepRecord,
): Promise<void> {
  await store.put(gcObjectName(record.generation, step), encodeGcRecord(step, record));
}

export async function listGcObjects(store: ObjectStore): Promise<StoredGcObject[]> {
  const objects: StoredGcObject[] = [];
  for await (const { name, sizeBytes } of store.list('gc/')) {
    const match = /^gc\/(\d+)-(condemned|waiting|sweep|done)$/.exec(name);
    const generation = parseGeneration(match?.[1]);
    if (match && generation !== undefined) {
      objects.push({ name, sizeBytes, generation, step: match[2] as GcStep });
    }
  }
  return objects;
}

/** Records of finished collections are removed while we read; then we look again, so often. */
const READ_ATTEMPTS_MAX = 10;

/** A record that cannot be read is as if it were not there; verification tells it. */
export async function readGcState(store: ObjectStore, sweeps?: SweepMemory): Promise<GcState> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await readState(store, sweeps);
    } catch (error) {
      if (!isCofferError(error, 'object-not-found') || attempt === READ_ATTEMPTS_MAX) throw error;
    }
  }
}

/**
 * What does not follow from another record is nobody's: a collection condemns as the one after the
 * newest that is done, sweeps what it has condemned, and leaves its sweep beside its `done`. So a junk
 * object means nothing, whatever its name is. A list that was made while records came and went may
 * look the same, so it has to look so twice.
 */
async function readState(store: ObjectStore, sweeps: SweepMemory | undefined): Promise<GcState> {
  const unreadable = new Set<string>();
  let before = '';
  for (;;) {
    const objects = (await listGcObjects(store)).filter(({ name }) => !unreadable.has(name));
    const chain = chainOf(objects);
    const names = objects.map(({ name }) => name).join('\n');
    if (!chain.isWhole && names !== before) {
      before = names;
      continue;
    }
    const read = await readChain(store, chain, sweeps);
    if (!('damaged' in read)) return read;
    unreadable.add(read.damaged);
  }
}

/** The state, or the name of a record that it would follow from, and that is damaged. */
async function readChain(
  store: ObjectStore,
  { condemned, decided, done, generation }: Chain<StoredGcObject>,
  sweeps: SweepMemory | undefined,
): Promise<GcState | { readonly damaged: string }> {
  let reading: string | undefined;
  const read = async <T>(
    object: StoredGcObject | undefined,
    how: (object: StoredGcObject) => Promise<T>,
  ): Promise<T | undefined> => {
    reading = object?.name;
    return object && (await how(object));
  };
  try {
    const unfinished = await read(condemned, (object) => readCondemned(store, object));
    const own = await read(decided, (object) => readSweep(store, object, sweeps));
    if (own && own.collection === unfinished?.collection) {
      return { generation, unfinished, sweep: own };
    }
    const last = await read(done, (object) => readSweep(store, object, sweeps));
    return { generation, unfinished, sweep: last };
  } catch (error) {
    if (reading === undefined || !isCofferError(error, 'object-damaged')) throw error;
    return { damaged: reading };
  }
}

/** The beginning of a record, with the random id of its collection. */
export const SWEEP_HEAD_SIZE_BYTES = 160;
const COLLECTION = /"collection":"[0-9a-f]{32}"/;

async function readSweep(
  store: ObjectStore,
  { name, sizeBytes }: StoredGcObject,
  sweeps: SweepMemory | undefined,
): Promise<SweepRecord> {
  const head = sweeps && (await readHead(store, name, sizeBytes));
  const known = head && sweeps?.find(name, head, sizeBytes);
  if (known) return known;
  const bytes = await getRecord(store, name);
  const sweep = decodeSweep(bytes, name);
  if (head?.equals(bytes.subarray(0, SWEEP_HEAD_SIZE_BYTES))) sweeps?.keep(name, bytes, sweep);
  return sweep;
}

/** Undefined when it does not tell one record from another. */
async function readHead(
  store: ObjectStore,
  name: string,
  sizeBytes: number,
): Promise<Buffer | undefined> {
  if (sizeBytes < SWEEP_HEAD_SIZE_BYTES) return undefined;
  const range = { offset: 0, length: SWEEP_HEAD_SIZE_BYTES };
  const head = await store.getRange(name, range);
  return COLLECTION.test(head.toString('latin1')) ? head : undefined;
}

/** Fails with `object-damaged`. */
export function decodeSweep(bytes: Buffer, name: string): SweepRecord {
  return ofName(name, 'sweep', decodeRecord('gc', Sweep, bytes, name));
}

/** Fails with `object-damaged` for a record of another generation than its name says. */
function ofName<T extends { readonly generation: number }>(
  name: string,
  step: GcStep,
  record: T,
): T {
  if (gcObjectName(record.generation, step) === name) return record;
  throw new CofferError('object-damaged', { object: name, reason: 'its name is wrong' });
}

interface Chain<T extends GcObject> {
  readonly generation: number;
  /** Of a collection that is not done. */
  readonly condemned: T | undefined;
  /** What lies there as its sweep. */
  readonly decided: T | undefined;
  /** The sweep of the newest that is done. */
  readonly done: T | undefined;
  /** False when there are records of higher generations that follow from nothing. */
  readonly isWhole: boolean;
}

/** Which of the records count. */
export function chainOf<T extends GcObject>(objects: readonly T[]): Chain<T> {
  const find = (step: GcStep, generation: number): T | undefined =>
    objects.find((object) => object.step === step && object.generation === generation);
  const isDone = ({ step, generation }: T): boolean =>
    step === 'done' && find('sweep', generation) !== undefined;
  const done = newestOf(objects.filter(isDone))?.generation ?? 0;
  const condemned = find('condemned', done + 1);
  const generation = condemned ? done + 1 : done;
  return {
    generation,
    condemned,
    decided: condemned && find('sweep', generation),
    done: find('sweep', done),
    isWhole: objects.every((object) => object.generation <= generation),
  };
}

function newestOf(objects: readonly GcObject[]): GcObject | undefined {
  return objects.reduce<GcObject | undefined>(
    (a, b) => (a && a.generation > b.generation ? a : b),
    undefined,
  );
}

async function readCondemned(store: ObjectStore, { name }: GcObject): Promise<CondemnedRecord> {
  const bytes = await getRecord(store, name);
  return ofName(name, 'condemned', decodeRecord('gc', Condemned, bytes, name));
}

const SCHEMAS = {
  condemned: Condemned,
  waiting: Waiting,
  sweep: Sweep,
  done: v.object({ generation: count }),
} as const;

/** Fails with `usage` for what nobody could read again. */
export function encodeGcRecord(step: GcStep, record: { readonly generation: number }): Buffer {
  refuseUnreadable(SCHEMAS[step], record);
  return encodeChecked('gc', v.looseObject({ generation: count }), record);
}

/** Fails with `object-damaged`. */
export function decodeGcRecord(
  step: GcStep,
  bytes: Buffer,
  name: string,
): { readonly generation: number } {
  return decodeRecord('gc', SCHEMAS[step], bytes, name);
}

/** Fails with `object-damaged`. */
export function checkGcRecord({ name, step }: GcObject, bytes: Buffer): void {
  ofName(name, step, decodeGcRecord(step, bytes, name));
}

export async function writeDone(store: ObjectStore, generation: number): Promise<void> {
  await putIfAbsent(
    store,
    gcObjectName(generation, 'done'),
    encodeGcRecord('done', { generation }),
  );
}

/**
 * Writes a record of a collection, unless it was written already; returns the one that counts. So
 * two that carry on the same collection do the same. What is there of another collection was agreed
 * on by nobody, and goes.
 */
export async function agreeOnWaiting(
  store: ObjectStore,
  record: WaitingRecord,
): Promise<WaitingRecord> {
  return await agree(store, 'waiting', Waiting, record);
}

export async function agreeOnSweep(store: ObjectStore, record: SweepRecord): Promise<SweepRecord> {
  return await agree(store, 'sweep', Sweep, record);
}

async function agree<T extends Pick<SweepRecord, 'generation' | 'collection'>>(
  store: ObjectStore,
  step: GcStep,
  schema: v.GenericSchema<unknown, T>,
  record: T,
): Promise<T> {
  const name = gcObjectName(record.generation, step);
  for (;;) {
    try {
      await store.put(name, encodeGcRecord(step, record));
      return record;
    } catch (error) {
      if (!isCofferError(error, 'object-exists')) throw error;
    }
    const stored = await readAgreed(store, name, schema);
    if (stored?.collection === record.collection) return stored;
    await store.delete(name);
  }
}

/** Undefined for one that is damaged, or gone: nobody can have agreed on it. */
async function readAgreed<T>(
  store: ObjectStore,
  name: string,
  schema: v.GenericSchema<unknown, T>,
): Promise<T | undefined> {
  try {
    return decodeRecord('gc', schema, await getRecord(store, name), name);
  } catch (error) {
    const isNone =
      isCofferError(error, 'object-damaged') || isCofferError(error, 'object-not-found');
    if (isNone) return undefined;
    throw error;
  }
}

/** Whether a point of that generation exists, as far as the newest sweep is concerned. */
export function survives(point: { generation: number; id: string }, state: GcState): boolean {
  const { sweep } = state;
  if (!sweep || point.generation >= sweep.generation) return true;
  return setsOf(sweep).points.has(point.id);
}

/** Whether an index object counts: one that appears late, from before the sweep, does not. */
export function isIndexObjectValid(name: string, { sweep }: GcState): boolean {
  const generation = indexGenerationOf(name);
  if (generation === undefined) return false;
  return !sweep || generation >= sweep.generation || setsOf(sweep).indexObjects.has(name);
}

/**
 * Whether an index object will count after the sweep of a collection that is not done. One of an
 * earlier generation that appears while it runs may come too late for the sweep to name it.
 */
export function willIndexObjectCount(name: string, unfinished: CondemnedRecord): boolean {
  const generation = indexGenerationOf(name);
  if (generation === undefined) return false;
  return generation >= unfinished.generation || namesOf(unfinished).has(name);
}

const indexObjectNames = new WeakMap<CondemnedRecord, ReadonlySet<string>>();

function namesOf(condemned: CondemnedRecord): ReadonlySet<string> {
  const known = indexObjectNames.get(condemned);
  if (known) return known;
  const names = new Set(condemned.indexObjects);
  indexObjectNames.set(condemned, names);
  return names;
}

interface SurvivorSets {
  readonly points: ReadonlySet<string>;
  readonly indexObjects: ReadonlySet<string>;
}

const survivorSets = new WeakMap<SweepRecord, SurvivorSets>();

function setsOf(sweep: SweepRecord): SurvivorSets {
  const known = survivorSets.get(sweep);
  if (known) return known;
  const sets = { points: new Set(sweep.survivors), indexObjects: new Set(sweep.indexObjects) };
  survivorSets.set(sweep, sets);
  return sets;
}
