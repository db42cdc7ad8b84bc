/**
 * The contract of an object store: flat, write-once objects under names.
 *
 * What a repository builds on, and every adapter has to keep (`testing/contract.ts` tests it):
 * - `put` creates; it never replaces. When it has returned, the object is durable, and every `get`
 *   and every `list` that starts later sees it, whole. Of two puts of one name, one succeeds.
 * - A put that failed left nothing under the name, or the whole object; never a part of it.
 * - `delete` of an object that is not there is no error.
 *
 * What a store cannot do, its capabilities say, so that whoever needs it refuses up front.
 */
import { CofferError } from '@coffer/base';

export interface ObjectInfo {
  readonly name: string;
  readonly sizeBytes: number;
  /** When the store says the object was created, in ms since 1970; the store's clock, not ours. */
  readonly createdAt: number;
}

/** A part of an object, in bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface StoreCapabilities {
  /** `createdAt` comes from a clock that writers do not control. */
  readonly serverTime: boolean;
  /** False for an append-only store: nobody deletes there what was put. */
  readonly deletes: boolean;
  /**
   * The store lists the points of a session by itself, from its `end`, and removes what the session
   * leaves. A writer's last act is `end` then, and nobody finishes the sessions of others.
   */
  readonly finishesSessions: boolean;
  /** Objects can be protected against deletion for a time. */
  readonly objectLock: boolean;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Who reads a whole object says how large it can be: a store may hold anything under a name. */
export interface GetOptions extends CallOptions {
  readonly sizeBytesMax: number;
}

/** What a stream of bytes has to be when it has ended. */
export interface StreamOptions extends CallOptions {
  readonly sizeBytes: number;
  /** BLAKE3 of all bytes. */
  readonly digest: Uint8Array;
}

export interface ObjectStore {
  /** What the store is, for people: a path or an URL without secrets. */
  readonly location: string;
  readonly capabilities: StoreCapabilities;

  /** Creates an object. Fails with `object-exists` when there is one of that name. */
  put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void>;

  /**
   * Creates an object of bytes that are not here yet, and takes them no faster than it stores them;
   * the pieces belong to the store.
   * Fails as `put` does; with `upload-damaged` when they are not those that were announced; and with
   * what `source` throws. Then there is nothing under the name. A stream comes once, so it is not
   * tried again by any wrapper.
   */
  putStream(name: string, source: AsyncIterable<Uint8Array>, options: StreamOptions): Promise<void>;

  /**
   * The whole object. Fails with `object-not-found`; or with `object-damaged`, before any of its
   * bytes are read, when it is larger than whoever asks has a use for.
   */
  get(name: string, options: GetOptions): Promise<Buffer>;

  /** The bytes of a range. Fails with `object-not-found` or `range-invalid`. */
  getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer>;

  /**
   * Reads a range into `target`, whose length is the length of the range: for large reads without
   * a copy. Fails as `getRange` does.
   */
  getInto(name: string, offset: number, target: Uint8Array, options?: CallOptions): Promise<void>;

  /** Size and time of an object, or undefined when there is none. */
  stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined>;

  /** All objects whose names begin with `prefix`, in ascending order of their names' bytes. */
  list(prefix: string, options?: CallOptions): AsyncIterable<ObjectInfo>;

  /** Fails with `store-append-only`, or with `object-protected` when it is protected. */
  delete(name: string, options?: CallOptions): Promise<void>;

  /**
   * Nobody can delete the object before `untilMs` (since 1970), rounded up to a second. A protection
   * that lasts longer stays as it is. Fails with `object-not-found`, or with `store-without-lock`.
   */
  protect(name: string, untilMs: number, options?: CallOptions): Promise<void>;

  /** Removes what killed puts left outside of the name space (temporary files, open uploads). */
  removeLeftovers(olderThanMs: number, options?: CallOptions): Promise<void>;

  /** Ends connections. The store is not used afterwards. */
  close(): Promise<void>;
}

/** For what has to delete, before it does anything. Fails with `store-append-only`. */
export function refuseAppendOnly({ capabilities, location }: ObjectStore): void {
  if (!capabilities.deletes) throw new CofferError('store-append-only', { location });
}

const OBJECT_NAME_SIZE_MAX = 512;

const NAME = /^[a-z0-9][a-z0-9.-]*(?:\/[a-z0-9][a-z0-9.-]*)*$/;

/** Names are lower-case words joined by slashes: they mean the same to every store. */
export function isObjectName(name: string): boolean {
  return name.length <= OBJECT_NAME_SIZE_MAX && NAME.test(name);
}
