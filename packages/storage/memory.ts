/** Objects in memory, for tests and simulations. */
import { type Clock, CofferError, systemClock } from '@coffer/base';
import {
  checkName,
  checkPrefix,
  checkRange,
  checkSize,
  rangeInvalid,
  withoutLock,
} from './checks.ts';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StoreCapabilities,
  StreamOptions,
} from './object-store.ts';
import { gathered, withheld } from './withheld.ts';

export interface MemoryStoreOptions {
  /** Gives `createdAt`; the clock of the system unless told otherwise. */
  readonly clock?: Clock;
  /** Objects can be protected. */
  readonly objectLock?: boolean;
  /** What it holds, by name, for those who simulate storage that loses objects; empty if not given. */
  readonly objects?: Map<string, StoredObject>;
}

export interface StoredObject {
  readonly bytes: Buffer;
  readonly createdAt: number;
  protectedUntil: number;
}

export function openMemoryStore(options: MemoryStoreOptions = {}): ObjectStore {
  const {
    clock = systemClock,
    objectLock = false,
    objects = new Map<string, StoredObject>(),
  } = options;
  return new MemoryStore(clock, objectLock, objects);
}

class MemoryStore implements ObjectStore {
  readonly location = 'memory';
  readonly capabilities: StoreCapabilities;
  readonly #objects: Map<string, StoredObject>;
  readonly #clock: Clock;

  constructor(clock: Clock, objectLock: boolean, objects: Map<string, StoredObject>) {
    this.capabilities = { serverTime: true, deletes: true, finishesSessions: false, objectLock };
    this.#clock = clock;
    this.#objects = objects;
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    checkName(name);
    options?.signal?.throwIfAborted();
    if (this.#objects.has(name)) throw new CofferError('object-exists', { name });
    const createdAt = this.#clock.now();
    this.#objects.set(name, { bytes: Buffer.from(bytes), createdAt, protectedUntil: 0 });
  }

  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    checkName(name);
    options.signal?.throwIfAborted();
    await this.put(name, await gathered(withheld(name, source, options)), options);
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    const { bytes } = this.#stored(name, options);
    checkSize(name, bytes.length, options);
    return Buffer.from(bytes);
  }

  async getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    return Buffer.from(this.#view(name, range, options));
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    target.set(this.#view(name, { offset, length: target.length }, options));
  }

  async stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    checkName(name);
    options?.signal?.throwIfAborted();
    return this.#info(name);
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    const names = [...this.#objects.keys()].filter((name) => name.startsWith(prefix)).sort();
    for (const name of names) {
      options?.signal?.throwIfAborted();
      const info = this.#info(name);
      if (info) yield info;
    }
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    checkName(name);
    options?.signal?.throwIfAborted();
    const until = this.#objects.get(name)?.protectedUntil ?? 0;
    if (until > this.#clock.now()) throw new CofferError('object-protected', { name, until });
    this.#objects.delete(name);
  }

  async protect(name: string, untilMs: number, options?: CallOptions): Promise<void> {
    if (!this.capabilities.objectLock) throw withoutLock(this);
    const stored = this.#stored(name, options);
    stored.protectedUntil = Math.max(stored.protectedUntil, Math.ceil(untilMs / 1000) * 1000);
  }

  async removeLeftovers(): Promise<void> {
    // A put is one step here: there is nothing that a killed one could leave.
  }

  async close(): Promise<void> {
    // The objects end with the process.
  }

  #stored(name: string, options: CallOptions | undefined): StoredObject {
    checkName(name);
    options?.signal?.throwIfAborted();
    const stored = this.#objects.get(name);
    if (!stored) throw new CofferError('object-not-found', { name });
    return stored;
  }

  #view(name: string, range: ByteRange, options: CallOptions | undefined): Buffer {
    const { bytes } = this.#stored(name, options);
    checkRange(range);
    const end = range.offset + range.length;
    if (end > bytes.length) throw rangeInvalid(name, range);
    return bytes.subarray(range.offset, end);
  }

  #info(name: string): ObjectInfo | undefined {
    const stored = this.#objects.get(name);
    return stored && { name, sizeBytes: stored.bytes.length, createdAt: stored.createdAt };
  }
}
