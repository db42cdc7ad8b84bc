/** A clock for tests whose time stands still until it is told to pass. */
import type { Clock } from '../clock.ts';

export interface HeldClock extends Clock {
  /** How long each sleep was to take that has not ended, in milliseconds. */
  readonly sleeps: readonly number[];
  /** Lets time pass; sleeps that are over by then end. */
  pass(durationMs: number): void;
}

interface Sleeper {
  readonly durationMs: number;
  readonly wakeAtMs: number;
  readonly wake: () => void;
}

export function heldClock(): HeldClock {
  let now = 0;
  const sleepers = new Set<Sleeper>();
  return {
    now: () => now,
    get sleeps() {
      return [...sleepers].map(({ durationMs }) => durationMs);
    },
    pass(durationMs) {
      now += durationMs;
      for (const sleeper of sleepers) {
        if (sleeper.wakeAtMs > now) continue;
        sleepers.delete(sleeper);
        sleeper.wake();
      }
    },
    async sleep(durationMs, signal) {
      signal?.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        const sleeper = { durationMs, wakeAtMs: now + durationMs, wake: resolve };
        sleepers.add(sleeper);
        signal?.addEventListener('abort', () => {
          sleepers.delete(sleeper);
          reject(signal.reason as Error);
        });
      });
    },
  };
}
