/**
 * Objects as files of a folder.
 *
 * How the contract is kept: a put writes a file in `.tmp`, syncs it, gives it its name, which fails
 * when there is one (`filesystem/publisher.ts`), and syncs the folder that holds it. So a name shows
 * nothing or the whole object after any crash, and an object that a put has announced survives a
 * power loss.
 */
import { constants } from 'node:fs';
import * as files from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import {
  type Clock,
  CofferError,
  type Random,
  systemClock,
  systemErrorCode,
  systemRandom,
} from '@coffer/base';
import { DIRECT_ALIGNMENT_BYTES, isDirectlyWritable } from '@coffer/base/libc.ts';
import type { FileCalls } from './filesystem/calls.ts';
import {
  checkName,
  checkPrefix,
  checkRange,
  checkSize,
  rangeInvalid,
  withoutLock,
} from './checks.ts';
import { DurableFolders, makeRoot } from './filesystem/durable-folders.ts';
import { filesystemError, isMissing } from './filesystem/errors.ts';
import { listFiles } from './filesystem/list.ts';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StreamOptions,
} from './object-store.ts';
import { OpenFiles } from './filesystem/open-files.ts';
import { tryPlace } from './filesystem/place.ts';
import { Publisher } from './filesystem/publisher.ts';
import { withheld } from './withheld.ts';

export interface FilesystemStoreOptions {
  /**
   * Creates the folder where it is missing, and tries what the place can do; otherwise a missing
   * folder is `repository-not-found`.
   */
  readonly create?: boolean;
  /** Tells how old leftovers are. */
  readonly clock?: Clock;
  /** Names temporary files. */
  readonly random?: Random;
  readonly calls?: FileCalls;
}

/** No object name begins with a dot, so this is outside of the name space. */
const TEMPORARY_FOLDER = '.tmp';
const FILE_MODE = 0o600;
/** Smaller objects are read again soon, and are written faster through the page cache. */
const DIRECT_SIZE_BYTES_MIN = 1024 * 1024;
/** Node reads at most 2 GiB - 1 at once. */
const READ_SIZE_BYTES_MAX = 1024 ** 3;
/** Enough for the packs that a restore reads at once; each costs one file descriptor. */
const OPEN_FILES_MAX = 16;

export async function openFilesystemStore(
  folder: string,
  options: FilesystemStoreOptions = {},
): Promise<ObjectStore> {
  const root = resolve(folder);
  const calls = options.calls ?? files;
  const random = options.random ?? systemRandom;
  try {
    if (options.create === true) await makeRoot(root, calls);
    const isFolder = (await files.stat(root)).isDirectory();
    if (!isFolder) throw new CofferError('repository-not-found', { path: root, reason: 'a file' });
    if (options.create === true) await tryPlace(root, calls, random);
  } catch (error) {
    if (isMissing(error)) throw new CofferError('repository-not-found', { path: root }, error);
    throw filesystemError(error, root);
  }
  return new FilesystemStore(root, calls, options.clock ?? systemClock, random);
}

class FilesystemStore implements ObjectStore {
  readonly location: string;
  readonly capabilities = {
    serverTime: false,
    deletes: true,
    finishesSessions: false,
    objectLock: false,
  };
  readonly #calls: FileCalls;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #folders: DurableFolders;
  readonly #publisher: Publisher;
  readonly #openFiles = new OpenFiles(OPEN_FILES_MAX);

  constructor(root: string, calls: FileCalls, clock: Clock, random: Random) {
    this.location = root;
    this.#calls = calls;
    this.#clock = clock;
    this.#random = random;
    this.#folders = new DurableFolders(root, calls);
    this.#publisher = new Publisher(root, calls, clock);
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    await this.#create(name, options, (temporary) =>
      writeDurably(temporary, bytes, this.#calls, options?.signal),
    );
  }

  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    await this.#create(name, options, (temporary) =>
      streamDurably(temporary, withheld(name, source, options), this.#calls, options.signal),
    );
  }

  async #create(name: string, options: CallOptions | undefined, write: Write): Promise<void> {
    const path = this.#path(name, options);
    const id = this.#random.bytes(12).toString('hex');
    const temporary = join(this.location, TEMPORARY_FOLDER, id);
    try {
      await Promise.all([
        this.#folders.ensure(dirname(temporary)),
        this.#folders.ensure(dirname(path)),
      ]);
      const isNew = await this.#publish(temporary, path, write, options?.signal);
      if (!isNew) throw new CofferError('object-exists', { name });
    } catch (error) {
      options?.signal?.throwIfAborted();
      throw filesystemError(error, path);
    }
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    const path = this.#path(name, options);
    try {
      // Not from the open files: another process may have replaced the object since.
      await using file = await files.open(path);
      const sizeBytes = await sizeOf(file, name);
      checkSize(name, sizeBytes, options);
      const target = Buffer.allocUnsafe(sizeBytes);
      await readRange(file, name, 0, target);
      return target;
    } catch (error) {
      throw readError(error, name, path);
    }
  }

  async getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    checkRange(range);
    const target = Buffer.allocUnsafe(range.length);
    await this.getInto(name, range.offset, target, options);
    return target;
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    const path = this.#path(name, options);
    checkRange({ offset, length: target.length });
    try {
      await this.#openFiles.use(path, (file) => readRange(file, name, offset, target));
    } catch (error) {
      throw readError(error, name, path);
    }
  }

  async stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    const path = this.#path(name, options);
    try {
      const stats = await files.stat(path);
      if (!stats.isFile()) return undefined;
      return { name, sizeBytes: stats.size, createdAt: Math.floor(stats.mtimeMs) };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw filesystemError(error, path);
    }
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    try {
      yield* listFiles(this.location, prefix, options?.signal);
    } catch (error) {
      throw filesystemError(error, this.location);
    }
  }

  /** The folder stays, also when it is empty: a put at this moment may count on it. */
  async delete(name: string, options?: CallOptions): Promise<void> {
    const path = this.#path(name, options);
    try {
      await this.#openFiles.drop(path);
      await this.#calls.unlink(path);
      await this.#folders.sync(dirname(path));
    } catch (error) {
      if (!isMissing(error)) throw filesystemError(error, path);
    }
  }

  async protect(): Promise<void> {
    throw withoutLock(this);
  }

  async removeLeftovers(olderThanMs: number, options?: CallOptions): Promise<void> {
    const folder = join(this.location, TEMPORARY_FOLDER);
    const before = this.#clock.now() - olderThanMs;
    try {
      for (const name of await files.readdir(folder)) {
        options?.signal?.throwIfAborted();
        await this.#removeOlder(join(folder, name), before);
      }
    } catch (error) {
      if (!isMissing(error)) throw filesystemError(error, folder);
    }
  }

  async close(): Promise<void> {
    await this.#openFiles.closeAll();
  }

  #path(name: string, options: CallOptions | undefined): string {
    checkName(name);
    options?.signal?.throwIfAborted();
    return join(this.location, name);
  }

  async #publish(
    temporary: string,
    path: string,
    write: Write,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    try {
      await write(temporary);
      return await this.#named(temporary, path, signal);
    } finally {
      // What cannot be removed now is a leftover; the put itself went as it went.
      await this.#calls.unlink(temporary).catch(() => undefined);
    }
  }

  async #named(temporary: string, path: string, signal: AbortSignal | undefined): Promise<boolean> {
    try {
      return await this.#publisher.publish(temporary, path, signal);
    } finally {
      // Also where the object exists: its writer may not have synced it yet, or been killed before,
      // and whoever hears that it exists relies on it.
      await this.#folders.sync(dirname(path));
    }
  }

  async #removeOlder(path: string, before: number): Promise<void> {
    try {
      const { mtimeMs } = await files.stat(path);
      if (mtimeMs < before) await this.#calls.unlink(path);
    } catch (error) {
      // Its put has ended in the meantime.
      if (!isMissing(error)) throw error;
    }
  }
}

/** Writes a whole file of this path, durably. */
type Write = (temporary: string) => Promise<void>;

async function streamDurably(
  path: string,
  source: AsyncIterable<Uint8Array>,
  calls: FileCalls,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = await calls.open(path, 'wx', FILE_MODE);
  try {
    for await (const piece of source) {
      for (let written = 0; written < piece.length;) {
        signal?.throwIfAborted();
        written += (await file.write(piece, written)).bytesWritten;
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
  signal?.throwIfAborted();
}

async function writeDurably(
  path: string,
  bytes: Uint8Array,
  calls: FileCalls,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = await calls.open(path, 'wx', FILE_MODE);
  try {
    const direct = await writeDirectly(path, bytes, calls);
    for (let written = direct; written < bytes.length;) {
      signal?.throwIfAborted();
      const rest = bytes.length - written;
      written += (await file.write(bytes, written, rest, written)).bytesWritten;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  signal?.throwIfAborted();
}

/**
 * Large objects go to the disk without a copy in the page cache, which they would fill for nothing.
 * Returns how many bytes did: none, where the memory or the file system is not made for it.
 */
async function writeDirectly(path: string, bytes: Uint8Array, calls: FileCalls): Promise<number> {
  const whole = bytes.length - (bytes.length % DIRECT_ALIGNMENT_BYTES);
  if (whole < DIRECT_SIZE_BYTES_MIN || !isDirectlyWritable(bytes.subarray(0, whole), 0)) return 0;
  let written = 0;
  try {
    await using file = await calls.open(path, constants.O_WRONLY | constants.O_DIRECT);
    while (written < whole) {
      const { bytesWritten } = await file.write(bytes, written, whole - written, written);
      written += bytesWritten;
    }
  } catch (error) {
    // What is left is written as usual.
    if (!['EINVAL', 'ENOTSUP'].includes(systemErrorCode(error) ?? '')) throw error;
  }
  return written;
}

async function readRange(
  file: files.FileHandle,
  name: string,
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const length = target.length;
  if (length === 0 && offset > (await sizeOf(file, name))) {
    throw rangeInvalid(name, { offset, length });
  }
  for (let done = 0; done < length;) {
    const size = Math.min(length - done, READ_SIZE_BYTES_MAX);
    const { bytesRead } = await file.read(target, done, size, offset + done);
    if (bytesRead === 0) throw rangeInvalid(name, { offset, length });
    done += bytesRead;
  }
}

/** A folder can be opened, and has a size, but is no object. */
async function sizeOf(file: files.FileHandle, name: string): Promise<number> {
  const stats = await file.stat();
  if (!stats.isFile()) throw new CofferError('object-not-found', { name });
  return stats.size;
}

function readError(error: unknown, name: string, path: string): unknown {
  // EISDIR: the name is the beginning of other names.
  if (isMissing(error) || systemErrorCode(error) === 'EISDIR') {
    return new CofferError('object-not-found', { name }, error);
  }
  return filesystemError(error, path);
}
