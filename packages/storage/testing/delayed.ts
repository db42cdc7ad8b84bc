/**
 * A far store: each call takes a round trip, and all of them share one link. The time that the
 * store below takes is added.
 */
import type { Clock } from '@coffer/base';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StreamOptions,
} from '../object-store.ts';

export interface DelayedOptions {
  /** Round trip of each call, and of each page of a list, in milliseconds. */
  readonly latencyMs: number;
  /** Of the link, each direction for itself. */
  readonly bytesPerSecondMax: number;
  readonly clock: Clock;
}

/** As of S3. */
const PAGE_COUNT = 1000;

export function delayed(store: ObjectStore, options: DelayedOptions): ObjectStore {
  return new DelayedStore(store, options);
}

class DelayedStore implements ObjectStore {
  readonly location: string;
  readonly capabilities;
  readonly #store: ObjectStore;
  readonly #latencyMs: number;
  readonly #clock: Clock;
  readonly #upstream: Link;
  readonly #downstream: Link;

  constructor(store: ObjectStore, { latencyMs, bytesPerSecondMax, clock }: DelayedOptions) {
    this.location = store.location;
    this.capabilities = store.capabilities;
    this.#store = store;
    this.#latencyMs = latencyMs;
    this.#clock = clock;
    this.#upstream = new Link(bytesPerSecondMax, clock);
    this.#downstream = new Link(bytesPerSecondMax, clock);
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    await this.#upstream.pass(bytes.length, options?.signal);
    await this.#travel(options);
    await this.#store.put(name, bytes, options);
  }

  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    await this.#travel(options);
    const upstream = this.#upstream;
    async function* passing(): AsyncGenerator<Uint8Array> {
      for await (const piece of source) {
        await upstream.pass(piece.length, options.signal);
        yield piece;
      }
    }
    await this.#store.putStream(name, passing(), options);
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    await this.#travel(options);
    const bytes = await this.#store.get(name, options);
    await this.#downstream.pass(bytes.length, options.signal);
    return bytes;
  }

  async getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    await this.#travel(options);
    const bytes = await this.#store.getRange(name, range, options);
    await this.#downstream.pass(bytes.length, options?.signal);
    return bytes;
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    await this.#travel(options);
    await this.#store.getInto(name, offset, target, options);
    await this.#downstream.pass(target.length, options?.signal);
  }

  async stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    await this.#travel(options);
    return await this.#store.stat(name, options);
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    await this.#travel(options);
    let count = 0;
    for await (const info of this.#store.list(prefix, options)) {
      if (count > 0 && count % PAGE_COUNT === 0) await this.#travel(options);
      count++;
      yield info;
    }
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    await this.#travel(options);
    await this.#store.delete(name, options);
  }

  async protect(name: string, untilMs: number, options?: CallOptions): Promise<void> {
    await this.#travel(options);
    await this.#store.protect(name, untilMs, options);
  }

  async removeLeftovers(olderThanMs: number, options?: CallOptions): Promise<void> {
    await this.#travel(options);
    await this.#store.removeLeftovers(olderThanMs, options);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #travel(options: CallOptions | undefined): Promise<void> {
    return this.#clock.sleep(this.#latencyMs, options?.signal);
  }
}

/** One direction of a link: what comes later waits until what came before has passed. */
class Link {
  readonly #bytesPerMs: number;
  readonly #clock: Clock;
  #freeAtMs = 0;

  constructor(bytesPerSecondMax: number, clock: Clock) {
    this.#bytesPerMs = bytesPerSecondMax / 1000;
    this.#clock = clock;
  }

  async pass(sizeBytes: number, signal: AbortSignal | undefined): Promise<void> {
    const now = this.#clock.now();
    this.#freeAtMs = Math.max(this.#freeAtMs, now) + sizeBytes / this.#bytesPerMs;
    if (this.#freeAtMs > now) await this.#clock.sleep(this.#freeAtMs - now, signal);
  }
}
