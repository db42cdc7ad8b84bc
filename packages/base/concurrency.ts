/** Bounded concurrency: everything that runs at once runs under a limit. */
import { assert } from './assert.ts';

/** At most `limit` holders at once; the others wait in order. */
export class Semaphore {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  #held = 0;

  constructor(limit: number) {
    assert(limit >= 1, 'a semaphore lets at least one through');
    this.#limit = limit;
  }

  async acquire(): Promise<void> {
    if (this.#held < this.#limit) {
      this.#held++;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  release(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#held--;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    await this.acquire();
    try {
      return await task();
    } finally {
      this.release();
    }
  }
}

/**
 * Starts tasks as long as fewer than `limit` run. `add` waits for a free place, so the producer is
 * slowed to the pace of the tasks. The first failure is thrown by the next `add` or by `drain`.
 * Leaving its scope (`await using`) waits for what runs: nothing goes on behind who started it.
 */
export class TaskQueue implements AsyncDisposable {
  readonly #semaphore: Semaphore;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(limit: number) {
    this.#semaphore = new Semaphore(limit);
  }

  async add(task: () => Promise<void>): Promise<void> {
    await this.#semaphore.acquire();
    if (this.#failure) {
      this.#semaphore.release();
      throw this.#failure.error;
    }
    const run = this.#run(task);
    this.#running.add(run);
    void run.finally(() => this.#running.delete(run));
  }

  /** Waits until no task runs; throws the first failure. */
  async drain(): Promise<void> {
    await this[Symbol.asyncDispose]();
    if (this.#failure) throw this.#failure.error;
  }

  /** Waits until no task runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async #run(task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      this.#failure ??= { error };
    } finally {
      this.#semaphore.release();
    }
  }
}

/** Maps in parallel, at most `limit` at once; results are in the order of `values`. */
export async function mapBounded<T, R>(
  values: Iterable<T>,
  limit: number,
  map: (value: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  await using queue = new TaskQueue(limit);
  let index = 0;
  for (const value of values) {
    const place = index++;
    await queue.add(async () => {
      results[place] = await map(value);
    });
  }
  await queue.drain();
  return results;
}

/** The same for what is of use only as a whole: the first failure aborts the others. */
export async function mapBoundedOrNone<T, R>(
  values: Iterable<T>,
  limit: number,
  signal: AbortSignal | undefined,
  map: (value: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const failure = new AbortController();
  const both = signal ? AbortSignal.any([signal, failure.signal]) : failure.signal;
  return await mapBounded(values, limit, async (value) => {
    try {
      return await map(value, both);
    } catch (error) {
      failure.abort(error);
      throw error;
    }
  });
}

/**
 * Maps in order, keeping up to `ahead` results under way before they are asked for. Who stops asking
 * waits for those.
 */
export async function* mapAhead<T, R>(
  values: Iterable<T> | AsyncIterable<T>,
  ahead: number,
  map: (value: T) => Promise<R>,
): AsyncGenerator<R> {
  const started: Promise<R>[] = [];
  try {
    for await (const value of values) {
      const result = map(value);
      // A failure is thrown when its turn comes; until then it must not count as unhandled.
      result.catch(() => {});
      started.push(result);
      if (started.length > ahead) yield await started.shift()!;
    }
    while (started.length > 0) yield await started.shift()!;
  } finally {
    await Promise.allSettled(started);
  }
}
