/**
 * Deletes what a sweep record says. The order matters: first the index objects that name the packs,
 * which do not count any more, then the packs, last the records; so it can be killed and repeated
 * anywhere. Before each part it looks whether the record still decides.
 */
import { mapBounded, tellDone, tellTotal } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { writeReplacements } from '../index/leave-out.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { parsePointObjectName } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { listSessions, removeSession } from '../session/session-record.ts';
import { requireDecided } from './decided.ts';
import { synchronize } from './index-in-step.ts';
import {
  type GcState,
  isIndexObjectValid,
  listGcObjects,
  type SweepRecord,
  survives,
  writeDone,
} from '../generations/gc-record.ts';

/** Deletions under way at once. */
const DELETIONS_AT_ONCE = 16;
/** Packs that are deleted between two looks at what is decided: some seconds. */
const PACKS_PER_LOOK = 256;

/** Returns the bytes of the packs that were deleted, as far as they were there. */
export async function sweep(
  repository: Repository,
  record: SweepRecord,
  sessions: readonly string[],
): Promise<number> {
  const { index, store } = repository;
  await requireDecided(repository, record);
  await deleteVoidIndexObjects(repository, record);
  await requireDecided(repository, record);
  await replaceLaterIndexObjects(repository, record);
  const bytesFreed = await deletePacks(repository, record);
  await requireDecided(repository, record);
  await deleteVoidPoints(repository, record);
  await deleteSessions(repository, new Set(sessions));
  await requireDecided(repository, record);
  await finish(repository, record.generation);
  await index.synchronize(store);
  await index.dropStale();
  return bytesFreed;
}

async function deletePacks(repository: Repository, record: SweepRecord): Promise<number> {
  const { packs } = record;
  tellTotal(repository.run, { items: packs.length });
  let bytesFreed = 0;
  for (let start = 0; start < packs.length; start += PACKS_PER_LOOK) {
    await requireDecided(repository, record);
    bytesFreed += await deleteSome(repository, packs.slice(start, start + PACKS_PER_LOOK));
  }
  return bytesFreed;
}

async function deleteSome({ store, run }: Repository, packs: readonly string[]): Promise<number> {
  const sizes = await mapBounded(packs, DELETIONS_AT_ONCE, async (pack) => {
    const name = packObjectName(Buffer.from(pack, 'hex'));
    const info = await store.stat(name);
    await store.delete(name);
    tellDone(run, { bytes: info?.sizeBytes ?? 0, items: 1 });
    return info?.sizeBytes ?? 0;
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Those that the sweep replaced, and those of fenced sessions that came late. */
async function deleteVoidIndexObjects({ store }: Repository, record: SweepRecord): Promise<void> {
  for await (const { name } of store.list('index/')) {
    if (!isIndexObjectValid(name, stateOf(record))) await store.delete(name);
  }
}

/**
 * Index objects of this generation and later ones count, whatever the sweep says; none that a session
 * has written names a pack that is swept. But after all records of collections were lost, or in a store
 * that was set back, there are such. They are replaced before the packs go.
 */
async function replaceLaterIndexObjects(
  repository: Repository,
  { packs, generation }: SweepRecord,
): Promise<void> {
  const { objects, unreadable } = await synchronize(repository);
  const known = new Set([...objects].filter((name) => !unreadable.has(name)));
  const options = { generation, objects: known };
  const { replaced } = await writeReplacements(repository, new Set(packs), options);
  for (const name of replaced) await repository.store.delete(name);
}

function stateOf(record: SweepRecord): GcState {
  return { generation: record.generation, unfinished: undefined, sweep: record };
}

/** Points of fenced sessions that were listed late do not exist, and their objects go. */
async function deleteVoidPoints({ store }: Repository, record: SweepRecord): Promise<void> {
  for await (const { name } of store.list('points/')) {
    const point = parsePointObjectName(name);
    if (point && !survives(point, stateOf(record))) await store.delete(name);
  }
}

/**
 * All of these have ended. Their `end` was needed until the sweep voided whatever they might still
 * write; the points of those that were committed are listed.
 */
async function deleteSessions({ store }: Repository, sessions: ReadonlySet<string>): Promise<void> {
  for (const session of await listSessions(store)) {
    if (sessions.has(session.session)) await removeSession(store, session);
  }
}

async function finish({ store }: Repository, generation: number): Promise<void> {
  await writeDone(store, generation);
  await removeOldRecords(store, generation);
}

/**
 * After the newest collection is done. Its sweep record stays, since it says which older points
 * exist; all older records go.
 */
export async function removeOldRecords(store: ObjectStore, generation: number): Promise<void> {
  for (const { name, generation: each, step } of await listGcObjects(store)) {
    const isNeeded =
      each > generation || (each === generation && step !== 'condemned' && step !== 'waiting');
    if (!isNeeded) await store.delete(name);
  }
}
