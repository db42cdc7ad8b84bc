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
  let before = 0;
  await everyTime({ clock, limitMs: MINUTE_MS, ended }, () => {
    const now = receivedBytes();
    if (now - before < LEAST_BYTES) onSlow(tooSlow('the answer comes', { receivedBytes: now }));
    before = now;
  });
}

export interface TurnLimits {
  readonly clock: Clock;
  readonly limitMs: number;
  /** When the server has answered. */
  readonly ended: AbortSignal;
}

/**
 * Gives the pieces of `source` on to a server, and calls `onSlow` when `limitMs` have passed in which
 * it has neither asked for the next one nor answered. Time in which the source is waited for is not
 * the server's.
 */
export function watchTurns(
  source: AsyncIterable<Uint8Array>,
  limits: TurnLimits,
  onSlow: (error: CofferError) => void,
): AsyncIterable<Uint8Array> {
  let turnCount = 0;
  let isOfSource = false;
  let before = -1;
  void everyTime(limits, () => {
    if (!isOfSource && turnCount === before) onSlow(tooSlow('the body is taken', { turnCount }));
    before = turnCount;
  });
  return (async function* () {
    isOfSource = true;
    for await (const piece of source) {
      isOfSource = false;
      turnCount++;
      yield piece;
      isOfSource = true;
    }
    isOfSource = false;
    turnCount++;
  })();
}

async function everyTime({ clock, limitMs, ended }: TurnLimits, check: () => void): Promise<void> {
  try {
    for (;;) {
      await clock.sleep(limitMs, ended);
      check();
    }
  } catch (error) {
    if (!ended.aborted) throw error;
  }
}

function tooSlow(what: string, details: Readonly<Record<string, number>>): CofferError {
  return new CofferError('store-unavailable', { reason: `${what} too slowly`, ...details });
}
