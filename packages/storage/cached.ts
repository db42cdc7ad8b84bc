/**
 * Keeps whole objects of chosen names in a second store that is nearer.
 *
 * Invariants:
 * - What the cache gives is what the store gave: each copy carries a digest over its name and its
 *   bytes, and a copy that does not fit is removed and read anew.
 * - A cache that fails is a cache that holds nothing: it never makes a call fail.
 * - An object that another process deletes may be read from the cache for a while; names are not
 *   used again for other content, so it is never wrong, only late. `list` and `stat` ask the store.
 */
import { DIGEST_SIZE_BYTES, digest } from '@coffer/base';
import { checkName, checkRange, rangeInvalid } from './checks.ts';
import type { ByteRange, CallOptions, ObjectInfo, ObjectStore } from './object-store.ts';

export interface CachedOptions {
  /** Where the copies are. It belongs to this wrapper, which closes it and removes from it. */
  readonly cache: ObjectStore;
  /** Which objects are kept: small ones that are read whole and often. */
  readonly names: (name: string) => boolean;
  /** Bound of all copies together; the one that was not read for the longest time goes first. */
  readonly sizeBytesMax: number;
}

export async function cached(store: ObjectStore, options: CachedOptions): Promise<ObjectStore> {
  const copies = new Copies(options.cache, options.sizeBytesMax);
  await copies.load();
  return new CachedStore(store, copies, options.names);
}

class CachedStore implements ObjectStore {
  readonly location: string;
  readonly capabilities;
  readonly #store: ObjectStore;
  readonly #copies: Copies;
  readonly #names: (name: string) => boolean;

  constructor(store: ObjectStore, copies: Copies, names: (name: string) => boolean) {
    this.location = store.location;
    this.capabilities = store.capabilities;
    this.#store = store;
    this.#copies = copies;
    this.#names = names;
  }

  put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    return this.#store.put(name, bytes, options);
  }

  async get(name: string, range?: ByteRange, options?: CallOptions): Promise<Buffer> {
    if (!this.#names(name)) return await this.#store.get(name, range, options);
    const bytes = await this.#getWhole(name, options);
    if (!range) return bytes;
    checkRange(range);
    const end = range.offset + range.length;
    if (end > bytes.length) throw rangeInvalid(name, range);
    return bytes.subarray(range.offset, end);
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    if (this.#names(name)) {
      target.set(await this.get(name, { offset, length: target.length }, options));
    } else {
      await this.#store.getInto(name, offset, target, options);
    }
  }

  stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    return this.#store.stat(name, options);
  }

  list(prefix: string, options?: CallOptions): AsyncIterable<ObjectInfo> {
    return this.#store.list(prefix, options);
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    await this.#store.delete(name, options);
    await this.#copies.remove(name);
  }

  removeLeftovers(olderThanMs: number, options?: CallOptions): Promise<void> {
    return this.#store.removeLeftovers(olderThanMs, options);
  }

  async close(): Promise<void> {
    await Promise.all([this.#store.close(), this.#copies.close()]);
  }

  async #getWhole(name: string, options: CallOptions | undefined): Promise<Buffer> {
    checkName(name);
    options?.signal?.throwIfAborted();
    const copy = await this.#copies.read(name);
    if (copy) return copy;
    const bytes = await this.#store.get(name, undefined, options);
    await this.#copies.write(name, bytes);
    return bytes;
  }
}

/** The copies and their sizes, in the order of their last use: a Map keeps that of insertion. */
class Copies {
  readonly #cache: ObjectStore;
  readonly #sizeBytesMax: number;
  readonly #sizes = new Map<string, number>();
  #sizeBytes = 0;

  constructor(cache: ObjectStore, sizeBytesMax: number) {
    this.#cache = cache;
    this.#sizeBytesMax = sizeBytesMax;
  }

  /** Takes over what an earlier process left, the oldest first. */
  async load(): Promise<void> {
    const found = await orNothing(Array.fromAsync(this.#cache.list('')));
    for (const { name, sizeBytes } of found?.sort((a, b) => a.createdAt - b.createdAt) ?? []) {
      this.#remember(name, sizeBytes);
    }
    await this.#evict();
  }

  /** Undefined when there is no copy, or none that can be trusted. */
  async read(name: string): Promise<Buffer | undefined> {
    const copy = await orNothing(this.#cache.get(name));
    if (!copy) return undefined;
    const bytes = copy.subarray(DIGEST_SIZE_BYTES);
    if (!copy.subarray(0, DIGEST_SIZE_BYTES).equals(sealOf(name, bytes))) {
      await this.remove(name);
      return undefined;
    }
    this.#remember(name, copy.length);
    return bytes;
  }

  async write(name: string, bytes: Buffer): Promise<void> {
    const copy = Buffer.concat([sealOf(name, bytes), bytes]);
    if (copy.length > this.#sizeBytesMax) return;
    this.#remember(name, copy.length);
    await this.#evict();
    await orNothing(this.#cache.put(name, copy));
  }

  async remove(name: string): Promise<void> {
    this.#forget(name);
    await orNothing(this.#cache.delete(name));
  }

  close(): Promise<void> {
    return this.#cache.close();
  }

  async #evict(): Promise<void> {
    while (this.#sizeBytes > this.#sizeBytesMax) {
      const oldest = this.#sizes.keys().next();
      if (oldest.done === true) return;
      await this.remove(oldest.value);
    }
  }

  #remember(name: string, sizeBytes: number): void {
    this.#forget(name);
    this.#sizes.set(name, sizeBytes);
    this.#sizeBytes += sizeBytes;
  }

  #forget(name: string): void {
    this.#sizeBytes -= this.#sizes.get(name) ?? 0;
    this.#sizes.delete(name);
  }
}

/** With the name, so that a copy under a wrong name is no copy. */
function sealOf(name: string, bytes: Uint8Array): Buffer {
  return digest(Buffer.from(`${name}\n`), bytes);
}

/** A cache is allowed to fail: what it does not do, the store does. */
async function orNothing<T>(call: Promise<T>): Promise<T | undefined> {
  return await call.catch(() => undefined);
}
