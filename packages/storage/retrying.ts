/**
 * Tries again what failed for a reason that may pass, with exponential back-off and full jitter.
 *
 * All calls of a store may be repeated, but for streams, which come once. Only `put` needs care: an attempt that seemed to fail may
 * have created the object, so that the next one finds it. Then what is stored decides: when it is
 * what was to be written, the put has succeeded. So two writers that put the same bytes under one
 * name may both succeed: objects that decide a race have to differ from writer to writer.
 */
import { type Clock, CofferError, type Random, assert, isCofferError } from '@coffer/base';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StreamOptions,
} from './object-store.ts';

export interface RetryingOptions {
  /** How often a call is tried in all, the first time included. */
  readonly attemptsMax: number;
  /** Upper bound of the first delay; it doubles with each attempt. */
  readonly delayMs: number;
  /** Upper bound of every delay; a minute unless told otherwise. */
  readonly delayMsMax?: number;
  readonly clock: Clock;
  readonly random: Random;
}

export function retrying(store: ObjectStore, options: RetryingOptions): ObjectStore {
  assert(options.attemptsMax >= 1, 'a call is tried at least once');
  return new RetryingStore(store, options);
}

const DELAY_MS_MAX = 60_000;

class RetryingStore implements ObjectStore {
  readonly location: string;
  readonly capabilities;
  readonly #store: ObjectStore;
  readonly #options: RetryingOptions;

  constructor(store: ObjectStore, options: RetryingOptions) {
    this.location = store.location;
    this.capabilities = store.capabilities;
    this.#store = store;
    this.#options = options;
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    let attempts = 0;
    await this.#attempt(options, async () => {
      attempts++;
      try {
        await this.#store.put(name, bytes, options);
      } catch (error) {
        if (attempts === 1 || !isCofferError(error, 'object-exists')) throw error;
        if (!(await this.#holds(name, bytes, options))) throw error;
      }
    });
  }

  putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    return this.#store.putStream(name, source, options);
  }

  get(name: string, options: GetOptions): Promise<Buffer> {
    return this.#attempt(options, () => this.#store.get(name, options));
  }

  getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    return this.#attempt(options, () => this.#store.getRange(name, range, options));
  }

  getInto(name: string, offset: number, target: Uint8Array, options?: CallOptions): Promise<void> {
    return this.#attempt(options, () => this.#store.getInto(name, offset, target, options));
  }

  stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    return this.#attempt(options, () => this.#store.stat(name, options));
  }

  /** Begins again after the last name that was given; progress renews the number of attempts. */
  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    let last = '';
    for (let failures = 0; ;) {
      try {
        for await (const info of this.#store.list(prefix, options)) {
          if (info.name <= last) continue;
          yield info;
          last = info.name;
          failures = 0;
        }
        return;
      } catch (error) {
        failures++;
        await this.#delay(error, failures, options?.signal);
      }
    }
  }

  delete(name: string, options?: CallOptions): Promise<void> {
    return this.#attempt(options, () => this.#store.delete(name, options));
  }

  protect(name: string, untilMs: number, options?: CallOptions): Promise<void> {
    return this.#attempt(options, () => this.#store.protect(name, untilMs, options));
  }

  removeLeftovers(olderThanMs: number, options?: CallOptions): Promise<void> {
    return this.#attempt(options, () => this.#store.removeLeftovers(olderThanMs, options));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #attempt<T>(options: CallOptions | undefined, call: () => Promise<T>): Promise<T> {
    for (let failures = 0; ;) {
      try {
        return await call();
      } catch (error) {
        failures++;
        await this.#delay(error, failures, options?.signal);
      }
    }
  }

  /** Waits before the next attempt, or throws the error where there is none. */
  async #delay(error: unknown, failures: number, signal: AbortSignal | undefined): Promise<void> {
    if (failures >= this.#options.attemptsMax || !mayPass(error)) throw error;
    signal?.throwIfAborted();
    const { delayMs, delayMsMax = DELAY_MS_MAX, clock, random } = this.#options;
    const bound = Math.min(delayMsMax, delayMs * 2 ** (failures - 1));
    await clock.sleep(random.fraction() * bound, signal);
  }

  async #holds(
    name: string,
    bytes: Uint8Array,
    options: CallOptions | undefined,
  ): Promise<boolean> {
    const info = await this.#store.stat(name, options);
    // Deleted since: whether it was ours can no longer be known.
    if (info?.sizeBytes !== bytes.length) return false;
    const limit = { ...options, sizeBytesMax: bytes.length };
    try {
      return (await this.#store.get(name, limit)).equals(bytes);
    } catch (error) {
      if (isCofferError(error, 'object-not-found')) return false;
      throw error;
    }
  }
}

/** A full store is not tried again: space comes back when someone makes it, not in a minute. */
function mayPass(error: unknown): boolean {
  return error instanceof CofferError && error.row.retry === 'later' && error.code !== 'store-full';
}
