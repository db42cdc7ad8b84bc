/** Objects in memory, for tests and simulations. */
import { type Clock, CofferError, systemClock } from '@coffer/base';
import { checkName, checkPrefix, checkRange, checkSize, rangeInvalid } from './checks.ts';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
} from './object-store.ts';

export interface MemoryStoreOptions {
  /** Gives `createdAt`; the clock of the system unless told otherwise. */
  readonly clock?: Clock;
}

interface StoredObject {
  readonly bytes: Buffer;
  readonly createdAt: number;
}

export function openMemoryStore({ clock = systemClock }: MemoryStoreOptions = {}): ObjectStore {
  return new MemoryStore(clock);
}

class MemoryStore implements ObjectStore {
  readonly location = 'memory';
  readonly capabilities = { serverTime: true, objectLock: false };
  readonly #objects = new Map<string, StoredObject>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    checkName(name);
    options?.signal?.throwIfAborted();
    if (this.#objects.has(name)) throw new CofferError('object-exists', { name });
    this.#objects.set(name, { bytes: Buffer.from(bytes), createdAt: this.#clock.now() });
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
    this.#objects.delete(name);
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
