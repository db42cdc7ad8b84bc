/** Limits of time for what a server does: one that is nearly dead holds nobody up for ever. */
import { type Clock, CofferError } from '@coffer/base';

/** A minute brings so much of a body, or it is given up; the worst of real links bring more. */
const LEAST_BYTES = 64 * 1024;
const MINUTE_MS = 60_000;
/** For a short answer, and the beginning of a long one. */
const ANSWER_MS = 2 * MINUTE_MS;

/** How long a request may take that sends so many bytes and gets a short answer. */
export function answerMs(sentBytes = 0): number {
  return ANSWER_MS + Math.ceil(sentBytes / LEAST_BYTES) * MINUTE_MS;
}

/** Calls with a signal that is aborted by `signal`, or after `limitMs`: that is `store-unavailable`. */
export async function withDeadline<T>(
  clock: Clock,
  limitMs: number,
  signal: AbortSignal | undefined,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const both = new AbortController();
  const ended = new AbortController();
  const late = new CofferError('store-unavailable', { reason: 'no answer in time', limitMs });
  const forward = () => both.abort(signal?.reason);
  signal?.addEventListener('abort', forward, { once: true });
  clock.sleep(limitMs, ended.signal).then(
    () => both.abort(late),
    () => undefined,
  );
  try {
    return await call(both.signal);
  } catch (error) {
    throw both.signal.reason === late ? late : error;
  } finally {
    signal?.removeEventListener('abort', forward);
    ended.abort();
  }
}

/**
 * Calls `onSlow` when a minute has brought less than the least of a body, until `ended`;
 * `receivedBytes` tells how much there is.
 */
export async function watchPace(
  clock: Clock,
  receivedBytes: () => number,
  ended: AbortSignal,
  onSlow: (error: CofferError) => void,
): Promise<void> {
  try {
    for (let before = 0; ;) {
      await clock.sleep(MINUTE_MS, ended);
      const now = receivedBytes();
      if (now - before < LEAST_BYTES) {
        const reason = 'the answer comes too slowly';
        onSlow(new CofferError('store-unavailable', { reason, receivedBytes: now }));
        return;
      }
      before = now;
    }
  } catch (error) {
    if (!ended.aborted) throw error;
  }
}
