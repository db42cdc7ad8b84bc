/**
 * A clock for simulations: time stands still while anything can run, and jumps to the next sleeper
 * when nothing can. The order of events follows from the seed alone.
 */
import type { Clock } from '@coffer/base';

export interface SimulatedClock extends Clock {
  now(): number;
}

interface Sleeper {
  readonly wakeAtMs: number;
  readonly order: number;
  wake(): void;
}

export function simulatedClock(startMs: number): SimulatedClock {
  let nowMs = startMs;
  let order = 0;
  let scheduled = false;
  const sleepers: Sleeper[] = [];

  function schedule(): void {
    if (scheduled || sleepers.length === 0) return;
    scheduled = true;
    // All that was resolved runs before; only then has nothing more to do but wait.
    setImmediate(() => {
      scheduled = false;
      wakeNext();
      schedule();
    });
  }

  function wakeNext(): void {
    let next: Sleeper | undefined;
    for (const sleeper of sleepers) {
      const isEarlier =
        !next ||
        sleeper.wakeAtMs < next.wakeAtMs ||
        (sleeper.wakeAtMs === next.wakeAtMs && sleeper.order < next.order);
      if (isEarlier) next = sleeper;
    }
    if (!next) return;
    sleepers.splice(sleepers.indexOf(next), 1);
    nowMs = Math.max(nowMs, next.wakeAtMs);
    next.wake();
  }

  return {
    now: () => Math.floor(nowMs),
    sleep: (durationMs, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason as Error);
          return;
        }
        const sleeper = { wakeAtMs: nowMs + durationMs, order: order++, wake };
        function wake(): void {
          signal?.removeEventListener('abort', abort);
          resolve();
        }
        function abort(): void {
          const index = sleepers.indexOf(sleeper);
          if (index >= 0) sleepers.splice(index, 1);
          reject(signal?.reason as Error);
        }
        signal?.addEventListener('abort', abort, { once: true });
        sleepers.push(sleeper);
        schedule();
      }),
  };
}
