/** What the header of an existing qcow2 image says of it ("QCOW2 Image Format" of QEMU). */
import { closeSync, openSync, readSync } from 'node:fs';
import { isQcow2Magic } from './header-codec.ts';

export interface Qcow2Facts {
  /** 2 or 3: an image of version 2, which QEMU calls `compat=0.10`, keeps no bitmaps. */
  readonly version: number;
  /** What the guest has written is in another file, whose name is in an extension of the header. */
  readonly hasDataFile: boolean;
  readonly isEncrypted: boolean;
}

const BYTES_READ = 80;
const VERSION_AT = 4;
const ENCRYPTION_AT = 32;
const INCOMPATIBLE_FEATURES_AT = 72;
/** Incompatible feature bit 2. */
const EXTERNAL_DATA_FILE = 4n;

/** Of a file or a device, while QEMU writes to it, too. Undefined where it is not such an image. */
export function inspectQcow2(path: string): Qcow2Facts | undefined {
  const fd = openSync(path, 'r');
  try {
    const header = Buffer.alloc(BYTES_READ);
    const length = readSync(fd, header, 0, BYTES_READ, 0);
    return parseQcow2Facts(header.subarray(0, length));
  } finally {
    closeSync(fd);
  }
}

/** Of the first bytes of an image. */
export function parseQcow2Facts(header: Buffer): Qcow2Facts | undefined {
  if (header.length < BYTES_READ || !isQcow2Magic(header)) return undefined;
  const version = header.readUInt32BE(VERSION_AT);
  // The header of version 2 ends before the features.
  const features = version < 3 ? 0n : header.readBigUInt64BE(INCOMPATIBLE_FEATURES_AT);
  return {
    version,
    hasDataFile: (features & EXTERNAL_DATA_FILE) !== 0n,
    isEncrypted: header.readUInt32BE(ENCRYPTION_AT) !== 0,
  };
}
