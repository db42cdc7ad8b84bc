/** Counts what is asked of a store. */
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StreamOptions,
} from './object-store.ts';

const METHODS = [
  'put',
  'putStream',
  'get',
  'getRange',
  'getInto',
  'stat',
  'list',
  'delete',
  'protect',
  'removeLeftovers',
] as const;
type Method = (typeof METHODS)[number];

export interface MethodCounts {
  /** Calls that have begun. */
  readonly calls: number;
  /** Calls that have failed, for whatever reason. */
  readonly errors: number;
  /** Bytes of objects that were written by calls that have succeeded. */
  readonly bytesIn: number;
  /** Bytes of objects that were read by calls that have succeeded. */
  readonly bytesOut: number;
}

export type StoreCounts = Readonly<Record<Method, MethodCounts>>;

export interface MeteredStore extends ObjectStore {
  /** What was counted so far. */
  counts(): StoreCounts;
}

export function metered(store: ObjectStore): MeteredStore {
  return new Metered(store);
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

class Metered implements MeteredStore {
  readonly location: string;
  readonly capabilities;
  readonly #store: ObjectStore;
  readonly #counts = Object.fromEntries(
    METHODS.map((method) => [method, { calls: 0, errors: 0, bytesIn: 0, bytesOut: 0 }]),
  ) as Record<Method, Mutable<MethodCounts>>;

  constructor(store: ObjectStore) {
    this.location = store.location;
    this.capabilities = store.capabilities;
    this.#store = store;
  }

  counts(): StoreCounts {
    return structuredClone(this.#counts);
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    await this.#count('put', this.#store.put(name, bytes, options));
    this.#counts.put.bytesIn += bytes.length;
  }

  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    await this.#count('putStream', this.#store.putStream(name, source, options));
    this.#counts.putStream.bytesIn += options.sizeBytes;
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    const bytes = await this.#count('get', this.#store.get(name, options));
    this.#counts.get.bytesOut += bytes.length;
    return bytes;
  }

  async getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    const bytes = await this.#count('getRange', this.#store.getRange(name, range, options));
    this.#counts.getRange.bytesOut += bytes.length;
    return bytes;
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    await this.#count('getInto', this.#store.getInto(name, offset, target, options));
    this.#counts.getInto.bytesOut += target.length;
  }

  stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    return this.#count('stat', this.#store.stat(name, options));
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    this.#counts.list.calls++;
    try {
      yield* this.#store.list(prefix, options);
    } catch (error) {
      this.#counts.list.errors++;
      throw error;
    }
  }

  delete(name: string, options?: CallOptions): Promise<void> {
    return this.#count('delete', this.#store.delete(name, options));
  }

  protect(name: string, untilMs: number, options?: CallOptions): Promise<void> {
    return this.#count('protect', this.#store.protect(name, untilMs, options));
  }

  removeLeftovers(olderThanMs: number, options?: CallOptions): Promise<void> {
    return this.#count('removeLeftovers', this.#store.removeLeftovers(olderThanMs, options));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #count<T>(method: Method, call: Promise<T>): Promise<T> {
    this.#counts[method].calls++;
    try {
      return await call;
    } catch (error) {
      this.#counts[method].errors++;
      throw error;
    }
  }
}
