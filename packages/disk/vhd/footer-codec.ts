/**
 * The footer of every image ("Hard Disk Footer Format"). It stands at the end of the file; dynamic
 * and differencing images hold a copy of it at the beginning.
 */
import { checksumOf } from './checksum.ts';
import { type Place, damaged, unsupported } from './damage.ts';
import { type Geometry, GEOMETRY_MAX, sectorsOf } from './geometry.ts';
import { DISK_BYTES_MAX, SECTOR_BYTES } from './sizes.ts';

export const FOOTER_BYTES = 512;
/** Before Virtual PC 2004, the last reserved byte was not written. */
export const OLD_FOOTER_BYTES = 511;

export type DiskType = 'fixed' | 'dynamic' | 'differencing';

export interface Footer {
  readonly type: DiskType;
  /** Byte offset of the dynamic header; without meaning in a fixed image. */
  readonly headerOffset: number;
  readonly createdAtMs: number;
  /** Four characters that tell who wrote the image. */
  readonly creator: string;
  readonly currentSizeBytes: number;
  readonly geometry: Geometry;
  /** 16 bytes; children name their parent by it. */
  readonly uniqueId: Buffer;
}

const COOKIE = 'conectix';
const RESERVED_FEATURE = 2;
const VERSION = 0x0001_0000;
const NO_HEADER = 0xffff_ffff_ffff_ffffn;
const HOST_WINDOWS = 'Wi2k';
const CHECKSUM_OFFSET = 64;
const TYPES = new Map<number, DiskType>([
  [2, 'fixed'],
  [3, 'dynamic'],
  [4, 'differencing'],
]);
const EPOCH_MS = Date.UTC(2000, 0, 1);

/** Why these 512 bytes are no whole footer; undefined when they are one. */
export function footerProblem(bytes: Buffer): string | undefined {
  if (bytes.toString('latin1', 0, 8) !== COOKIE) return 'no cookie';
  const stored = bytes.readUInt32BE(CHECKSUM_OFFSET);
  return stored === checksumOf(bytes, CHECKSUM_OFFSET) ? undefined : 'wrong checksum';
}

/** Fails with `image-damaged` or `image-unsupported`. */
export function decodeFooter(bytes: Buffer, place: Place): Footer {
  const problem = footerProblem(bytes);
  if (problem !== undefined) throw damaged(place, problem);
  const version = bytes.readUInt32BE(12);
  if (version >>> 16 !== VERSION >>> 16) throw unsupported(place, `version ${version >>> 16}`);
  const type = TYPES.get(bytes.readUInt32BE(60));
  if (type === undefined) throw unsupported(place, `disk type ${bytes.readUInt32BE(60)}`);
  const sizeBytes = Number(bytes.readBigUInt64BE(48));
  if (sizeBytes > DISK_BYTES_MAX) throw unsupported(place, `${sizeBytes} bytes, over 2040 GiB`);
  return {
    type,
    headerOffset: Number(bytes.readBigUInt64BE(16)),
    createdAtMs: timeOf(bytes.readUInt32BE(24)),
    creator: bytes.toString('latin1', 28, 32),
    currentSizeBytes: sizeBytes - (sizeBytes % SECTOR_BYTES),
    geometry: {
      cylinders: bytes.readUInt16BE(56),
      heads: bytes.readUInt8(58),
      sectorsPerTrack: bytes.readUInt8(59),
    },
    uniqueId: Buffer.from(bytes.subarray(68, 84)),
  };
}

export function encodeFooter(footer: Footer): Buffer {
  const bytes = Buffer.alloc(FOOTER_BYTES);
  const { geometry } = footer;
  bytes.write(COOKIE, 0, 'latin1');
  bytes.writeUInt32BE(RESERVED_FEATURE, 8);
  bytes.writeUInt32BE(VERSION, 12);
  bytes.writeBigUInt64BE(footer.type === 'fixed' ? NO_HEADER : BigInt(footer.headerOffset), 16);
  bytes.writeUInt32BE(timeStampOf(footer.createdAtMs), 24);
  bytes.write(footer.creator, 28, 4, 'latin1');
  bytes.writeUInt32BE(VERSION, 32);
  bytes.write(HOST_WINDOWS, 36, 'latin1');
  bytes.writeBigUInt64BE(BigInt(footer.currentSizeBytes), 40);
  bytes.writeBigUInt64BE(BigInt(footer.currentSizeBytes), 48);
  bytes.writeUInt16BE(geometry.cylinders, 56);
  bytes.writeUInt8(geometry.heads, 58);
  bytes.writeUInt8(geometry.sectorsPerTrack, 59);
  bytes.writeUInt32BE(numberOf(footer.type), 60);
  footer.uniqueId.copy(bytes, 68, 0, 16);
  bytes.writeUInt32BE(checksumOf(bytes, CHECKSUM_OFFSET), CHECKSUM_OFFSET);
  return bytes;
}

/**
 * The size that a virtual machine sees. Virtual PC showed its machines the geometry and wrote a
 * current size beyond it, and old QEMU did as Virtual PC; all others mean the current size. The
 * largest geometry says nothing about the size. This is QEMU's rule, too. A geometry that is larger
 * than the current size is not believed: there is nothing stored for the rest.
 */
export function visibleSizeBytes({ creator, geometry, currentSizeBytes }: Footer): number {
  const meansGeometry = creator === 'vpc ' || creator === 'qemu';
  const sectorCount = sectorsOf(geometry);
  if (!meansGeometry || sectorCount === 0 || sectorCount === sectorsOf(GEOMETRY_MAX)) {
    return currentSizeBytes;
  }
  return Math.min(sectorCount * SECTOR_BYTES, currentSizeBytes);
}

/** Seconds since 2000 ("Time Stamp"); times that cannot be told become the nearest that can. */
export function timeStampOf(timeMs: number): number {
  const seconds = Math.floor((timeMs - EPOCH_MS) / 1000);
  return Math.min(Math.max(seconds, 0), 0xffff_ffff);
}

export function timeOf(timeStamp: number): number {
  return EPOCH_MS + timeStamp * 1000;
}

function numberOf(wanted: DiskType): number {
  return { fixed: 2, dynamic: 3, differencing: 4 }[wanted];
}
