/** A store whose calls end with a signal, also those of whoever passes none on. */
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectStore,
  StreamOptions,
} from './object-store.ts';

export function interruptible(store: ObjectStore, signal: AbortSignal): ObjectStore {
  /** Fails with the reason of the signal once that is aborted: not every store looks at it. */
  function withSignal<O extends CallOptions>(options: O | undefined): O & { signal: AbortSignal };
  function withSignal(options: CallOptions | undefined): CallOptions {
    signal.throwIfAborted();
    const own = options?.signal;
    const both = own && own !== signal ? AbortSignal.any([own, signal]) : signal;
    return { ...options, signal: both };
  }
  return {
    location: store.location,
    capabilities: store.capabilities,
    async put(name: string, bytes: Uint8Array, options?: CallOptions) {
      await store.put(name, bytes, withSignal(options));
    },
    async putStream(name: string, source: AsyncIterable<Uint8Array>, options: StreamOptions) {
      await store.putStream(name, source, withSignal(options));
    },
    async get(name: string, options: GetOptions) {
      return await store.get(name, withSignal(options));
    },
    async getRange(name: string, range: ByteRange, options?: CallOptions) {
      return await store.getRange(name, range, withSignal(options));
    },
    async getInto(name: string, offset: number, target: Uint8Array, options?: CallOptions) {
      await store.getInto(name, offset, target, withSignal(options));
    },
    async stat(name: string, options?: CallOptions) {
      return await store.stat(name, withSignal(options));
    },
    async *list(prefix: string, options?: CallOptions) {
      for await (const info of store.list(prefix, withSignal(options))) {
        yield info;
        signal.throwIfAborted();
      }
    },
    async delete(name: string, options?: CallOptions) {
      await store.delete(name, withSignal(options));
    },
    async protect(name: string, untilMs: number, options?: CallOptions) {
      await store.protect(name, untilMs, withSignal(options));
    },
    async removeLeftovers(olderThanMs: number, options?: CallOptions) {
      await store.removeLeftovers(olderThanMs, withSignal(options));
    },
    close: () => store.close(),
  };
}
