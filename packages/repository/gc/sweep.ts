/**
 * Deletes what a sweep record says. The order matters: first index objects that do not name the
 * packs any more, then the packs, last the records; so it can be killed and repeated anywhere.
 */
import { mapBounded } from '@coffer/base';
import { leaveOutOfIndex } from '../index/leave-out.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { parsePointObjectName } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { listSessions, readEnd, removeSession } from '../session/session-record.ts';
import { listGcObjects, type SweepRecord, survives, writeDone } from './gc-record.ts';

/** Deletions under way at once. */
const DELETIONS_AT_ONCE = 16;

/** Returns the bytes of the packs that were deleted, as far as they were there. */
export async function sweep(
  repository: Repository,
  record: SweepRecord,
  sessions: readonly string[],
): Promise<number> {
  const { index, store } = repository;
  const swept = new Set(record.packs);
  await leaveOutOfIndex(repository, swept);
  const bytesFreed = await deletePacks(repository, record.packs);
  await deleteVoidPoints(repository, record);
  await deleteFencedSessions(repository, new Set(sessions));
  await finish(repository, record.generation);
  await index.synchronize(store);
  return bytesFreed;
}

async function deletePacks({ store }: Repository, packs: readonly string[]): Promise<number> {
  const sizes = await mapBounded(packs, DELETIONS_AT_ONCE, async (pack) => {
    const name = packObjectName(Buffer.from(pack, 'hex'));
    const info = await store.stat(name);
    await store.delete(name);
    return info?.sizeBytes ?? 0;
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Points of fenced sessions that were listed late do not exist, and their objects go. */
async function deleteVoidPoints({ store }: Repository, sweepRecord: SweepRecord): Promise<void> {
  const state = { generation: sweepRecord.generation, unfinished: undefined, sweep: sweepRecord };
  for await (const { name } of store.list('points/')) {
    const point = parsePointObjectName(name);
    if (point && !survives(point, state)) await store.delete(name);
  }
}

/** Their `end` was needed until the sweep record voided whatever they might still write. */
async function deleteFencedSessions(
  { store }: Repository,
  sessions: ReadonlySet<string>,
): Promise<void> {
  for (const session of await listSessions(store)) {
    if (!sessions.has(session.session)) continue;
    const end = await readEnd(store, session.session);
    if (end?.outcome === 'fenced') await removeSession(store, session);
  }
}

/** The sweep record stays, since it says which older points exist; all older records go. */
async function finish({ store }: Repository, generation: number): Promise<void> {
  await writeDone(store, generation);
  for (const { name, generation: each, step } of await listGcObjects(store)) {
    const isNeeded =
      each > generation || (each === generation && step !== 'condemned' && step !== 'waiting');
    if (!isNeeded) await store.delete(name);
  }
}
