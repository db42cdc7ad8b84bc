/** What the header of an existing qcow2 image says of it ("QCOW2 Image Format" of QEMU). */
import { closeSync, existsSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isQcow2Magic } from './header-codec.ts';

export interface Qcow2Facts {
  /** 2 or 3: an image of version 2, which QEMU calls `compat=0.10`, keeps no bitmaps. */
  readonly version: number;
  /** What the guest has written is in another file, whose name is in an extension of the header. */
  readonly hasDataFile: boolean;
  readonly isEncrypted: boolean;
  /** The image below it, as the header names it; undefined for none. */
  readonly backing: string | undefined;
}

const BYTES_READ = 80;
const VERSION_AT = 4;
const BACKING_OFFSET_AT = 8;
const BACKING_LENGTH_AT = 16;
const BACKING_BYTES_MAX = 1023;
/** As many images below one another as are followed; QEMU becomes slow long before. */
const DEPTH_MAX = 200;
const ENCRYPTION_AT = 32;
const INCOMPATIBLE_FEATURES_AT = 72;
/** Incompatible feature bit 2. */
const EXTERNAL_DATA_FILE = 4n;

/** Of a file or a device, while QEMU writes to it, too. Undefined where it is not such an image. */
export function inspectQcow2(path: string): Qcow2Facts | undefined {
  const fd = openSync(path, 'r');
  try {
    return parseQcow2Facts((offset, length) => {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
    });
  } finally {
    closeSync(fd);
  }
}

/** Paths of the files that an image lies on, nearest first, as far as they are files of this host. */
export function backingFilesOf(path: string): string[] {
  const found: string[] = [];
  for (let at = path; found.length < DEPTH_MAX;) {
    const backing = existsSync(at) && isFileOrDevice(at) ? inspectQcow2(at)?.backing : undefined;
    // With a protocol or as JSON, it is on a server.
    if (backing === undefined || /^[a-z][a-z0-9+-]*:/.test(backing)) break;
    at = resolve(dirname(realpathSync(at)), backing);
    found.push(at);
  }
  return found;
}

function isFileOrDevice(path: string): boolean {
  const stats = statSync(path);
  return stats.isFile() || stats.isBlockDevice();
}

/** `read` gives fewer bytes where the image ends. */
export function parseQcow2Facts(
  read: (offset: number, length: number) => Buffer,
): Qcow2Facts | undefined {
  const header = read(0, BYTES_READ);
  if (header.length < BYTES_READ || !isQcow2Magic(header)) return undefined;
  const version = header.readUInt32BE(VERSION_AT);
  // The header of version 2 ends before the features.
  const features = version < 3 ? 0n : header.readBigUInt64BE(INCOMPATIBLE_FEATURES_AT);
  return {
    version,
    hasDataFile: (features & EXTERNAL_DATA_FILE) !== 0n,
    isEncrypted: header.readUInt32BE(ENCRYPTION_AT) !== 0,
    backing: parseBacking(header, read),
  };
}

function parseBacking(
  header: Buffer,
  read: (offset: number, length: number) => Buffer,
): string | undefined {
  const offset = header.readBigUInt64BE(BACKING_OFFSET_AT);
  const length = header.readUInt32BE(BACKING_LENGTH_AT);
  const isNamed = offset > 0n && offset <= BigInt(Number.MAX_SAFE_INTEGER) && length > 0;
  if (!isNamed || length > BACKING_BYTES_MAX) return undefined;
  return read(Number(offset), length).toString('utf8');
}
