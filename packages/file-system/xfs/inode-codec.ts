/** Inodes: what a file is, and where its content and its attributes begin (struct xfs_dinode). */
import type { FileType } from '@coffer/base';
import { requireChecksum } from './checksum-codec.ts';
import type { Fields } from './fields.ts';
import type { Geometry } from './superblock-codec.ts';

/** A list of blocks, or what is so small that it is in the inode itself. */
export interface Fork {
  readonly format: 'local' | 'extents' | 'tree';
  readonly bytes: Fields;
  /** Of the format `extents`. */
  readonly extentCount: number;
}

export interface Inode {
  readonly number: bigint;
  readonly type: FileType;
  /** Permission bits. */
  readonly mode: number;
  readonly userId: number;
  readonly groupId: number;
  readonly linkCount: number;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
  readonly sizeBytes: number;
  /** As Linux gives it to programs. */
  readonly deviceNumber: bigint | undefined;
  readonly isRealtime: boolean;
  readonly data: Fork | undefined;
  readonly attributes: Fork | undefined;
  readonly offset: number;
}

const MAGIC = 0x494e;
const CRC_AT = 100;
const CORE_BYTES = { old: 100, checked: 176 } as const;
const FORMAT_DEVICE = 0;
const FORMATS = [undefined, 'local', 'extents', 'tree'] as const;
const FLAG_REALTIME = 1;
const FLAG2_BIG_TIME = 8n;
const FLAG2_BIG_COUNTS = 16n;
/** Large times count from here. */
const BIG_TIME_EPOCH_NS = 2n ** 31n * 1_000_000_000n;
const NS_PER_SECOND = 1_000_000_000n;
/** Later times, after 2262, do not fit into what is stored of a file. */
const TIME_NS_MAX = 2n ** 63n - 1n;

const TYPES: Readonly<Record<number, FileType>> = {
  0o14: 'socket',
  0o12: 'symlink',
  0o10: 'file',
  0o06: 'block-device',
  0o04: 'directory',
  0o02: 'character-device',
  0o01: 'fifo',
};

export function parseInode(fields: Fields, number: bigint, { hasChecksums }: Geometry): Inode {
  if (fields.u16(0) !== MAGIC) throw fields.damaged('no signature');
  if (hasChecksums) {
    requireChecksum(fields, CRC_AT);
    if (fields.u64(152) !== number) throw fields.damaged(`it says that it is ${fields.u64(152)}`);
  }
  const mode = fields.u16(2);
  const type = TYPES[mode >> 12];
  if (!type) throw fields.damaged(`it is of no type (mode ${mode.toString(8)})`);
  const version = fields.u8(4);
  const flags2 = version >= 3 ? fields.u64(120) : 0n;
  const isDevice = fields.u8(5) === FORMAT_DEVICE;
  const times = { fields, isBig: (flags2 & FLAG2_BIG_TIME) !== 0n };
  return {
    number,
    type,
    mode: mode & 0o7777,
    userId: fields.u32(8),
    groupId: fields.u32(12),
    linkCount: version === 1 ? fields.u16(6) : fields.u32(16),
    modifiedNs: timeNs(times, 40),
    changedNs: timeNs(times, 48),
    sizeBytes: fields.size64(56),
    isRealtime: (fields.u16(90) & FLAG_REALTIME) !== 0,
    offset: fields.offset,
    ...parseForks(fields, version, flags2),
    deviceNumber: isDevice && type.endsWith('-device') ? deviceNumber(fields, version) : undefined,
  };
}

function parseForks(
  fields: Fields,
  version: number,
  flags2: bigint,
): Pick<Inode, 'data' | 'attributes'> {
  const hasBigCounts = (flags2 & FLAG2_BIG_COUNTS) !== 0n;
  const start = version >= 3 ? CORE_BYTES.checked : CORE_BYTES.old;
  const literal = fields.part(start);
  const attributesAt = fields.u8(82) * 8;
  return {
    data: parseFork(
      literal.part(0, attributesAt === 0 ? literal.length : attributesAt),
      fields.u8(5),
      hasBigCounts ? fields.size64(24) : fields.u32(76),
    ),
    attributes:
      attributesAt === 0
        ? undefined
        : parseFork(
            literal.part(attributesAt),
            fields.u8(83),
            hasBigCounts ? fields.u32(76) : fields.u16(80),
          ),
  };
}

function parseFork(bytes: Fields, formatCode: number, extentCount: number): Fork | undefined {
  if (formatCode === FORMAT_DEVICE) return undefined;
  const format = FORMATS[formatCode];
  if (!format) throw bytes.damaged(`a fork of format ${formatCode}`);
  return { format, bytes, extentCount };
}

interface Times {
  readonly fields: Fields;
  readonly isBig: boolean;
}

function timeNs({ fields, isBig }: Times, at: number): bigint {
  if (isBig) {
    const time = fields.u64(at) - BIG_TIME_EPOCH_NS;
    return time > TIME_NS_MAX ? TIME_NS_MAX : time;
  }
  return BigInt(fields.i32(at)) * NS_PER_SECOND + BigInt(fields.i32(at + 4));
}

/** On the volume there are 14 bits of major and 18 of minor number; programs see them mixed. */
function deviceNumber(fields: Fields, version: number): bigint {
  const value = fields.u32(version >= 3 ? CORE_BYTES.checked : CORE_BYTES.old);
  const major = BigInt((value >>> 18) & 0x3fff);
  const minor = BigInt(value & 0x3_ffff);
  const low = (minor & 0xffn) | ((major & 0xfffn) << 8n);
  return low | ((minor & ~0xffn) << 12n) | ((major & ~0xfffn) << 32n);
}
