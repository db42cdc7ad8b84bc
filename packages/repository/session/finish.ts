/**
 * What is left to do for a session that was committed: its points are listed, what its job has made is
 * noted, and its objects go. Whoever is about to write does it for others first. PROTOCOL.md.
 */
import type { CofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { readGcState, survives, type SweepMemory } from '../generations/gc-record.ts';
import { pointObjectName } from '../recovery-point.ts';
import { putIfAbsent } from '../store-calls.ts';
import { encodeJob, type JobResult, jobName } from './job.ts';
import {
  type CommittedEnd,
  listSessions,
  readEndIfIntact,
  removeSession,
} from './session-record.ts';

/**
 * Finishes the sessions that were committed and could not do it themselves. Ends that are damaged are
 * told to `onDamaged`, or thrown.
 */
export async function finishCommittedSessions(
  store: ObjectStore,
  onDamaged?: (error: CofferError, name: string) => void,
): Promise<void> {
  if (store.capabilities.finishesSessions) return;
  for (const session of await listSessions(store)) {
    if (!session.hasEnd) continue;
    const end = await readEndIfIntact(store, session.session, onDamaged);
    if (end?.outcome !== 'committed' || !(await listCommitted(store, end))) continue;
    // Where nobody deletes, who collects garbage does it later, at the other end of the store.
    if (store.capabilities.deletes) await removeSession(store, session);
  }
}

/**
 * Lists the points, and then what the job has made, unless the store does. False when a sweep has
 * passed over the session: it was fenced, and its points do not exist.
 */
export async function listCommitted(
  store: ObjectStore,
  end: CommittedEnd,
  sweeps?: SweepMemory,
): Promise<boolean> {
  const state = await readGcState(store, sweeps);
  const { generation } = end;
  if (!end.points.every(({ id }) => survives({ generation, id }, state))) return false;
  if (store.capabilities.finishesSessions) return true;
  for (const { id, item, record } of end.points) {
    await putIfAbsent(store, pointObjectName(item, generation, id), Buffer.from(record, 'base64'));
  }
  const result = resultOf(end);
  if (result) await putIfAbsent(store, jobName(result.job), encodeJob(result));
  return true;
}

/** Undefined for a session of no job. */
export function resultOf({ job, session, points }: CommittedEnd): JobResult | undefined {
  return job === undefined
    ? undefined
    : { job, session, points: points.map(({ id, item }) => ({ id, item })) };
}

/** Removes what is left of a session whose points are listed, unless the store does. */
export async function removeEnded(store: ObjectStore, id: string): Promise<void> {
  const { deletes, finishesSessions } = store.capabilities;
  if (!deletes || finishesSessions) return;
  const own = (await listSessions(store, id)).find(({ session }) => session === id);
  if (own) await removeSession(store, own);
}
