/** The boot sector: how the volume is divided, and where the master file table begins. */
import type { Fields } from './fields.ts';

export const BOOT_BYTES = 512;

export interface Geometry {
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  readonly clusterCount: number;
  /** Size of a record of the master file table. */
  readonly recordBytes: number;
  readonly mftCluster: number;
  /** Where a copy of the first four records is. */
  readonly mirrorCluster: number;
  readonly serial: bigint;
}

const SIGNATURE = 'NTFS    ';
const SECTOR_BYTES_MAX = 4096;
const CLUSTER_BYTES_MAX = 2 * 1024 * 1024;
const RECORD_BYTES_MIN = 512;
const RECORD_BYTES_MAX = 16 * 1024;

export function isBootSector(bytes: Buffer): boolean {
  return bytes.length >= BOOT_BYTES && bytes.toString('latin1', 3, 11) === SIGNATURE;
}

export function parseBootSector(boot: Fields): Geometry {
  const sectorBytes = boot.u16(0x0b);
  const clusterBytes = sectorBytes * sectorsOf(boot.u8(0x0d));
  if (!isPowerBetween(sectorBytes, 256, SECTOR_BYTES_MAX)) {
    throw boot.damaged(`sectors of ${sectorBytes} bytes`);
  }
  if (!isPowerBetween(clusterBytes, sectorBytes, CLUSTER_BYTES_MAX)) {
    throw boot.damaged(`clusters of ${clusterBytes} bytes`);
  }
  const recordBytes = sizeOf(boot.u8(0x40), clusterBytes);
  if (!isPowerBetween(recordBytes, RECORD_BYTES_MIN, RECORD_BYTES_MAX)) {
    throw boot.damaged(`file records of ${recordBytes} bytes`);
  }
  const sizeBytes = boot.size64(0x28) * sectorBytes;
  if (!Number.isSafeInteger(sizeBytes)) throw boot.damaged('the volume is too large');
  const clusterCount = Math.ceil(sizeBytes / clusterBytes);
  const mftCluster = boot.size64(0x30);
  if (mftCluster >= clusterCount) throw boot.damaged('the file table is outside of the volume');
  const serial = boot.u64(0x48);
  const mirrorCluster = boot.size64(0x38);
  return { sizeBytes, clusterBytes, clusterCount, recordBytes, mftCluster, mirrorCluster, serial };
}

/** Above 0x80 the number is a negative power of two: clusters of more than 64 KiB. */
function sectorsOf(code: number): number {
  return code > 0x80 ? 2 ** (0x100 - code) : code;
}

/** Clusters, or from 0x80 a negative power of two in bytes. */
function sizeOf(code: number, clusterBytes: number): number {
  return code >= 0x80 ? 2 ** (0x100 - code) : code * clusterBytes;
}

export function isPowerBetween(value: number, min: number, max: number): boolean {
  return value >= min && value <= max && Number.isInteger(Math.log2(value));
}
