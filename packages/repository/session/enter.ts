/**
 * How a session shows itself, before it looks at anything: by its `begin`. An attempt of a job then
 * ends those before it, or finds what one of them has committed.
 *
 * Invariant: of all sessions of a job one commits at most. Of two, at least one sees the other: each
 * lists after it has shown itself. The earlier one gives up, or is fenced by the later one. One that
 * is gone has committed before, and then `jobs/` says so, which was written before it went; or it was
 * swept, and nothing that it may still do counts. PROTOCOL.md has the argument.
 */
import { CofferError, isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { RepositoryContext } from '../context.ts';
import { listCommitted, removeEnded, resultOf } from './finish.ts';
import { type Attempt, attemptSessionId, jobIdOf, type JobResult, readJob } from './job.ts';
import {
  beginName,
  encodeBegin,
  listSessions,
  readEndIfIntact,
  type StoredSession,
  writeEnd,
} from './session-record.ts';

export const WRITER = 'the writer itself';
const LATER_ATTEMPT = 'a later attempt';

export interface Entered {
  readonly id: string;
  /** Of an attempt of a job. */
  readonly job?: string | undefined;
}

export type EnteredAttempt =
  | (Entered & { readonly outcome: 'entered' })
  | { readonly outcome: 'committed'; readonly result: JobResult };

export async function enter(context: RepositoryContext): Promise<Entered> {
  return { id: await show(context, () => context.random.bytes(16).toString('hex')) };
}

/** More often, it is not chance that an id is taken. */
const IDS_TRIED_MAX = 10;

/** Puts `begin` under an id; another process, or a put that the store has lost, may have taken one. */
async function show(
  context: RepositoryContext,
  chooseId: () => Promise<string> | string,
): Promise<string> {
  for (let tried = 1; ; tried++) {
    const id = await chooseId();
    try {
      await putBegin(context, id);
      return id;
    } catch (error) {
      if (!isCofferError(error, 'object-exists') || tried === IDS_TRIED_MAX) throw error;
    }
  }
}

/** Fails with `session-fenced` when there is a later attempt. */
export async function enterAttempt(
  context: RepositoryContext,
  attempt: Attempt,
): Promise<EnteredAttempt> {
  const { store } = context;
  const job = jobIdOf(attempt);
  const known = await readJob(store, job);
  if (known) return { outcome: 'committed', result: known };
  const id = await showAttempt(context, attempt, job);
  const others = (await listSessions(store, job)).filter(({ session }) => session !== id);
  if (others.some(({ session }) => session > id)) {
    await writeEnd(store, { session: id, outcome: 'fenced', by: LATER_ATTEMPT });
    throw new CofferError('session-fenced', { by: LATER_ATTEMPT });
  }
  const result = await settleEarlier(store, others, job);
  if (!result) return { outcome: 'entered', id, job };
  await writeEnd(store, { session: id, outcome: 'fenced', by: WRITER });
  return { outcome: 'committed', result };
}

async function showAttempt(
  context: RepositoryContext,
  attempt: Attempt,
  job: string,
): Promise<string> {
  return await show(context, async () => {
    const present = await listSessions(context.store, job);
    const sessions = present.map(({ session }) => session);
    return attemptSessionId(attempt, sessions, context.random);
  });
}

/** Ends what was not ended; returns what one of them has committed. */
async function settleEarlier(
  store: ObjectStore,
  earlier: readonly StoredSession[],
  job: string,
): Promise<JobResult | undefined> {
  for (const each of earlier) {
    const { session } = each;
    const end = each.hasEnd
      ? await readEndIfIntact(store, session, ignoreDamaged)
      : await writeEnd(store, { session, outcome: 'fenced', by: LATER_ATTEMPT });
    // An end of somebody who adds what he likes names no job, and ends the session all the same.
    if (end?.outcome !== 'committed' || end.job !== job) continue;
    if (!(await listCommitted(store, end))) continue;
    await removeEnded(store, session);
    return resultOf(end);
  }
  // One that had committed may have gone meanwhile: then there was nothing to end.
  return await readJob(store, job);
}

/** What cannot be read has made nothing. */
function ignoreDamaged(): void {}

async function putBegin(
  { store, clock, processes: { host, own } }: RepositoryContext,
  id: string,
): Promise<void> {
  const begin = { session: id, startedAt: clock.now(), host, ...(own && { process: own }) };
  await store.put(beginName(id), encodeBegin(begin));
}
