/**
 * Which sessions a collection still waits for. The lease decides when one is fenced, never whether; and
 * it runs by the clock of the store, which stamps the signs of life, not by that of this host.
 */
import { isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { Repository } from '../repository.ts';
import { CLOCK_DIFFERENCE_MS_MAX, LEASE_MS } from '../session/session.ts';
import {
  listSessions,
  readBegin,
  type SessionBegin,
  type StoredSession,
  writeEnd,
} from '../session/session-record.ts';
import type { AskNow } from './store-clock.ts';

/** Fences the sessions that gave no sign of life for too long; returns how many are open. */
export async function endExpired(
  repository: Repository,
  waiting: readonly string[],
  askNow: AskNow,
): Promise<number> {
  const { store } = repository;
  const wanted = new Set(waiting);
  let open = 0;
  for (const session of await listSessions(store)) {
    if (!wanted.has(session.session) || session.hasEnd) continue;
    if (await isExpired(repository, session, await askNow())) {
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

/** Sessions that were abandoned or fenced are cleaned up by the next sweep. */
export async function hasEndedSessions(repository: Repository, askNow: AskNow): Promise<boolean> {
  for (const session of await listSessions(repository.store)) {
    if (session.hasEnd || (await isExpired(repository, session, await askNow()))) return true;
  }
  return false;
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
