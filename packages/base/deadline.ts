/** A limit of time for what has no signal of its own. */
import type { Clock } from './clock.ts';

/** Calls `onLate` after `limitMs`, unless what is returned was called before. */
export function startDeadline(clock: Clock, limitMs: number, onLate: () => void): () => void {
  const met = new AbortController();
  clock.sleep(limitMs, met.signal).then(onLate, () => {
    // It was met.
  });
  return () => met.abort();
}
