/** Raw disks: image files and block devices as they are. Holes are told by the file system. */
import { constants, fstatSync, type BigIntStats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CofferError, systemErrorCode } from '@coffer/base';
import {
  beginWriteBack,
  isDirectlyWritable,
  nextData,
  punchHole,
  readFromPageCache,
  sizeOf,
} from '@coffer/base/libc.ts';
import { type ByteRange, type Disk, type Extent, wholeOf, type WritableDisk } from './disk.ts';
import { targetFailure } from './target-failure.ts';

/** Zeroes are written in pieces of this size where no hole can be made. */
const ZEROES = Buffer.alloc(1024 * 1024);

/** Copying so much takes less time than asking a thread to do it. */
const READ_AT_ONCE_BYTES_MAX = 256 * 1024;

/** Opens a raw disk for reading. Fails with `source-not-found` or `source-unreadable`. */
export async function openRawDisk(path: string): Promise<Disk> {
  return await openDisk(path, constants.O_RDONLY, 'source');
}

/**
 * Opens an existing raw disk for reading and writing. A block device is opened exclusively, which
 * fails while it is mounted. Fails with `target-unwritable`.
 */
export async function openWritableRawDisk(path: string): Promise<WritableDisk> {
  // O_EXCL without O_CREAT has a meaning for block devices only.
  return await openDisk(path, constants.O_RDWR | constants.O_EXCL, 'target');
}

/** Makes a file of holes of that size. Fails with `target-unwritable` when there is one. */
export async function createRawDisk(path: string, sizeBytes: number): Promise<WritableDisk> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  try {
    const handle = await open(path, flags, 0o600);
    await handle.truncate(sizeBytes);
    return new RawDisk({ path, handle, direct: await openDirect(path), sizeBytes });
  } catch (error) {
    throw targetFailure(path, error);
  }
}

async function openDisk(path: string, flags: number, role: 'source' | 'target'): Promise<RawDisk> {
  let handle: FileHandle;
  try {
    handle = await open(path, flags);
  } catch (error) {
    throw new CofferError(openCode(error, role), { path, reason: systemErrorCode(error) }, error);
  }
  const stats = await handle.stat({ bigint: true });
  if (!stats.isFile() && !stats.isBlockDevice()) {
    await handle.close();
    const code = role === 'source' ? 'source-unreadable' : 'target-unwritable';
    throw new CofferError(code, { path, reason: 'neither a file nor a block device' });
  }
  const direct = role === 'target' ? await openDirect(path) : undefined;
  return new RawDisk({ path, handle, direct, sizeBytes: sizeOf(handle.fd), stats });
}

/**
 * Direct writes go to the disk without a copy in the page cache, where a restore would push out what
 * others use and wait for the write-back in the end. Not every file system has them.
 */
async function openDirect(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_WRONLY | constants.O_DIRECT);
  } catch {
    return undefined;
  }
}

interface RawDiskParts {
  readonly path: string;
  readonly handle: FileHandle;
  readonly direct: FileHandle | undefined;
  readonly sizeBytes: number;
  readonly stats?: BigIntStats;
}

class RawDisk implements WritableDisk {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #isBlockDevice: boolean;

  readonly #direct: FileHandle | undefined;

  constructor({ path, handle, direct, sizeBytes, stats }: RawDiskParts) {
    this.#path = path;
    this.#handle = handle;
    this.#direct = direct;
    this.sizeBytes = sizeBytes;
    this.#isBlockDevice = stats?.isBlockDevice() ?? false;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const isSmall = target.length <= READ_AT_ONCE_BYTES_MAX;
    let done = isSmall ? readFromPageCache(this.#handle.fd, offset, target) : 0;
    while (done < target.length) {
      const { bytesRead } = await this.#readSome(offset + done, target.subarray(done));
      if (bytesRead === 0) {
        throw new CofferError('source-changed', { path: this.#path, endsAt: offset + done });
      }
      done += bytesRead;
    }
  }

  *extents(range: ByteRange = wholeOf(this)): Iterable<Extent> {
    const end = range.offset + range.length;
    let { offset } = range;
    if (this.#isBlockDevice) {
      if (range.length > 0) yield { ...range, kind: 'data' };
      return;
    }
    while (offset < end) {
      const run = nextData(this.#handle.fd, offset, end);
      // A file that was cut has no data there, either.
      if (!run) refuseCut(this.#handle.fd, this.#path, end);
      const start = run?.offset ?? end;
      if (start > offset) yield { offset, length: start - offset, kind: 'zero' };
      if (run) yield { ...run, kind: 'data' };
      offset = run ? run.offset + run.length : end;
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      const done = await this.#writeDirectly(offset, bytes);
      if (done === bytes.length) return;
      await writeAll(this.#handle, bytes.subarray(done), offset + done);
      await beginWriteBack(this.#handle.fd, offset, bytes.length);
    } catch (error) {
      throw targetFailure(this.#path, error);
    }
  }

  async zero(offset: number, length: number): Promise<void> {
    if (!this.#isBlockDevice && punchHole(this.#handle.fd, offset, length)) return;
    for (let done = 0; done < length; done += ZEROES.length) {
      await this.write(offset + done, ZEROES.subarray(0, Math.min(ZEROES.length, length - done)));
    }
  }

  async flush(): Promise<void> {
    await this.#handle.sync();
  }

  async close(): Promise<void> {
    await this.#direct?.close();
    await this.#handle.close();
  }

  /** Returns how many bytes went directly: none, where that is not possible. */
  async #writeDirectly(offset: number, bytes: Uint8Array): Promise<number> {
    if (!this.#direct || !isDirectlyWritable(bytes, offset)) return 0;
    try {
      await writeAll(this.#direct, bytes, offset);
      return bytes.length;
    } catch (error) {
      // The device asks for more than our alignment, or the file system for the usual way.
      if (systemErrorCode(error) !== 'EINVAL') throw error;
      return 0;
    }
  }

  async #readSome(offset: number, target: Uint8Array): Promise<{ bytesRead: number }> {
    try {
      return await this.#handle.read(target, 0, target.length, offset);
    } catch (error) {
      const details = { path: this.#path, offset, reason: systemErrorCode(error) };
      throw new CofferError('source-unreadable', details, error);
    }
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const rest = bytes.length - done;
    const { bytesWritten } = await handle.write(bytes, done, rest, offset + done);
    done += bytesWritten;
  }
}

function openCode(
  error: unknown,
  role: 'source' | 'target',
): 'source-not-found' | 'source-unreadable' | 'target-unwritable' {
  if (role === 'target') return 'target-unwritable';
  return systemErrorCode(error) === 'ENOENT' ? 'source-not-found' : 'source-unreadable';
}

/** Fails with `source-changed` when a file ends before it should. */
function refuseCut(fd: number, path: string, end: number): void {
  const { size } = fstatSync(fd);
  if (size < end) throw new CofferError('source-changed', { path, endsAt: size });
}
