/** A clock for tests: sleeping takes no time, but time passes. */
import type { Clock } from '@coffer/base';

export interface ManualClock extends Clock {
  /** How long each sleep was to take, in milliseconds. */
  readonly sleeps: readonly number[];
}

/** Sleeps end in the order of their wake-up times, as soon as nothing else runs. */
export function manualClock(startMs = 0): ManualClock {
  let now = startMs;
  const sleeps: number[] = [];
  const sleepers = new Set<{ readonly wakeAtMs: number; readonly wake: () => void }>();

  function wakeNext(): void {
    const [next] = [...sleepers].sort((a, b) => a.wakeAtMs - b.wakeAtMs);
    if (!next) return;
    sleepers.delete(next);
    now = Math.max(now, next.wakeAtMs);
    next.wake();
  }

  return {
    sleeps,
    now: () => now,
    async sleep(durationMs, signal) {
      signal?.throwIfAborted();
      sleeps.push(durationMs);
      await new Promise<void>((wake) => {
        sleepers.add({ wakeAtMs: now + durationMs, wake });
        setImmediate(wakeNext);
      });
      signal?.throwIfAborted();
    },
  };
}
