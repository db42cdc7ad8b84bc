/**
 * Keeps the bytes of objects in both directions together under a rate. An object passes at once
 * when its turn comes, so the rate holds over seconds, not within one object. Lists, times and
 * deletions are free.
 */
import type { Clock } from '@coffer/base';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectStore,
  StreamOptions,
} from './object-store.ts';
import { RateLimit } from './rate-limit.ts';
import type { Rate } from './rate-schedule.ts';

export interface ThrottledOptions {
  /** By the hour; where there is none, nothing is limited. */
  readonly rates: readonly Rate[];
  readonly clock: Clock;
}

export function throttled(store: ObjectStore, options: ThrottledOptions): ObjectStore {
  const limit = new RateLimit(options.rates, options.clock);
  return {
    location: store.location,
    capabilities: store.capabilities,
    async put(name: string, bytes: Uint8Array, options?: CallOptions) {
      await limit.take(bytes.length, options?.signal);
      await store.put(name, bytes, options);
    },
    async putStream(name: string, source: AsyncIterable<Uint8Array>, options: StreamOptions) {
      await store.putStream(name, paced(source, limit, options.signal), options);
    },
    async get(name: string, options: GetOptions) {
      const bytes = await store.get(name, options);
      // The size of a whole object is known afterwards only; those who come next wait for it.
      await limit.take(bytes.length, options.signal);
      return bytes;
    },
    async getRange(name: string, range: ByteRange, options?: CallOptions) {
      await limit.take(range.length, options?.signal);
      return await store.getRange(name, range, options);
    },
    async getInto(name: string, offset: number, target: Uint8Array, options?: CallOptions) {
      await limit.take(target.length, options?.signal);
      await store.getInto(name, offset, target, options);
    },
    stat: (name, options) => store.stat(name, options),
    list: (prefix, options) => store.list(prefix, options),
    delete: (name, options) => store.delete(name, options),
    protect: (name, untilMs, options) => store.protect(name, untilMs, options),
    removeLeftovers: (olderThanMs, options) => store.removeLeftovers(olderThanMs, options),
    close: () => store.close(),
  };
}

async function* paced(
  source: AsyncIterable<Uint8Array>,
  limit: RateLimit,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    await limit.take(piece.length, signal);
    yield piece;
  }
}
