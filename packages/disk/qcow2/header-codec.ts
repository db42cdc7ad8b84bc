/**
 * The header of a qcow2 image of version 3, and the entries of its tables ("QCOW2 Image Format",
 * docs/interop/qcow2.txt of QEMU). All numbers are big-endian.
 */

const CLUSTER_BITS = 16;
/** What QEMU makes by default. */
export const CLUSTER_BYTES = 2 ** CLUSTER_BITS;
/** Of a table that refers to clusters, or to tables of them. */
export const ENTRY_BYTES = 8;
/** Clusters that one second-level table describes. */
export const ENTRIES_PER_TABLE = CLUSTER_BYTES / ENTRY_BYTES;
/** References are counted in 16 bits. */
const REFCOUNT_ORDER = 4;
export const REFCOUNT_BYTES = 2;
export const REFCOUNTS_PER_BLOCK = CLUSTER_BYTES / REFCOUNT_BYTES;

const MAGIC = Buffer.from('QFI\xfb', 'latin1');
const VERSION = 3;
export const HEADER_BYTES = 104;
/** Incompatible feature bit 0: references have to be counted anew before the image is written to. */
const DIRTY = 1n;
/** Bit 63 of an entry: nothing else refers to the cluster, so it may be written in place. */
const COPIED = 0x8000_0000;
const OFFSET_HIGH_MASK = 0x00ff_ffff;

/** Whether an image begins as one of any version does. */
export function isQcow2Magic(bytes: Buffer): boolean {
  return bytes.subarray(0, MAGIC.length).equals(MAGIC);
}

export interface Qcow2Header {
  readonly sizeBytes: number;
  readonly firstLevelOffset: number;
  readonly firstLevelEntries: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  /** The references are not counted yet. */
  readonly isDirty: boolean;
}

/** The header and the end of its extensions, of which there are none. */
export function encodeHeader(header: Qcow2Header): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + 8);
  MAGIC.copy(bytes);
  bytes.writeUInt32BE(VERSION, 4);
  bytes.writeUInt32BE(CLUSTER_BITS, 20);
  bytes.writeBigUInt64BE(BigInt(header.sizeBytes), 24);
  bytes.writeUInt32BE(header.firstLevelEntries, 36);
  bytes.writeBigUInt64BE(BigInt(header.firstLevelOffset), 40);
  bytes.writeBigUInt64BE(BigInt(header.refcountTableOffset), 48);
  bytes.writeUInt32BE(header.refcountTableClusters, 56);
  bytes.writeBigUInt64BE(header.isDirty ? DIRTY : 0n, 72);
  bytes.writeUInt32BE(REFCOUNT_ORDER, 96);
  bytes.writeUInt32BE(HEADER_BYTES, 100);
  return bytes;
}

/** Where an entry of the first or second level refers to, in bytes; 0 for nowhere. */
export function readEntry(table: Buffer, index: number): number {
  const at = index * ENTRY_BYTES;
  const high = table.readUInt32BE(at) & OFFSET_HIGH_MASK;
  return high * 2 ** 32 + table.readUInt32BE(at + 4);
}

export function writeEntry(table: Buffer, index: number, offset: number): void {
  const at = index * ENTRY_BYTES;
  // With `>>> 0`, since bit 31 is the sign of what `|` gives.
  table.writeUInt32BE((Math.floor(offset / 2 ** 32) | COPIED) >>> 0, at);
  table.writeUInt32BE(offset % 2 ** 32, at + 4);
}
