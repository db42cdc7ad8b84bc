/** An inode of ext4 (kernel documentation, "Index Nodes"). */
import { CofferError, type FileType } from '@coffer/base';
import { continueCrc32c, continueCrc32cByNumber } from '@coffer/base/crc32c.ts';
import type { Superblock } from './superblock-codec.ts';

export interface Inode {
  readonly number: number;
  readonly type: FileType;
  readonly mode: number;
  readonly userId: number;
  readonly groupId: number;
  readonly sizeBytes: number;
  /** What is allotted to it, attributes included; in sectors of 512 bytes, or in whole blocks. */
  readonly allottedCount: number;
  readonly linkCount: number;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
  /** Tells how the map is to be read. */
  readonly form: 'extents' | 'blocks' | 'inline';
  readonly isEncrypted: boolean;
  /** The place where block numbers, extents, or the first bytes are. */
  readonly map: Buffer;
  /** Attributes in the inode: what is behind its fields. */
  readonly attributes: Buffer;
  /** 0 where there is none. */
  readonly attributeBlock: number;
  /** Where checksums of structures that belong to this inode begin. */
  readonly checksumSeed: number;
}

const FLAGS = { encrypted: 0x800, extents: 0x8_0000, inline: 0x1000_0000 } as const;
const FIELDS_BYTES = 128;
export const MAP_BYTES = 60;

const TYPES: Readonly<Record<number, FileType>> = {
  0x1: 'fifo',
  0x2: 'character-device',
  0x4: 'directory',
  0x6: 'block-device',
  0x8: 'file',
  0xa: 'symlink',
  0xc: 'socket',
};

/** Fails with `file-system-damaged` when the inode is not in use, or its checksum is wrong. */
export function parseInode(superblock: Superblock, number: number, bytes: Buffer): Inode {
  const checksumSeed = inodeSeed(superblock, number, bytes);
  if (superblock.hasChecksums && !isWhole(bytes, checksumSeed)) throw damaged(number, 'checksum');
  const mode = bytes.readUInt16LE(0);
  const type = TYPES[mode >> 12];
  const linkCount = bytes.readUInt16LE(26);
  if (!type || linkCount === 0) throw damaged(number, 'not in use');
  const flags = bytes.readUInt32LE(32);
  const extraBytes = bytes.length > FIELDS_BYTES ? bytes.readUInt16LE(FIELDS_BYTES) : 0;
  if (extraBytes % 4 !== 0 || FIELDS_BYTES + extraBytes > bytes.length) {
    throw damaged(number, 'extra size');
  }
  const times = extraBytes >= 12;
  return {
    number,
    type,
    mode: mode & 0o7777,
    userId: bytes.readUInt16LE(2) + bytes.readUInt16LE(120) * 0x1_0000,
    groupId: bytes.readUInt16LE(24) + bytes.readUInt16LE(122) * 0x1_0000,
    sizeBytes: sizeOf(number, type, bytes),
    allottedCount: bytes.readUInt32LE(28) + bytes.readUInt16LE(116) * 2 ** 32,
    linkCount,
    changedNs: timeOf(bytes.readInt32LE(12), times ? bytes.readUInt32LE(132) : 0),
    modifiedNs: timeOf(bytes.readInt32LE(16), times ? bytes.readUInt32LE(136) : 0),
    form: formOf(flags),
    isEncrypted: (flags & FLAGS.encrypted) !== 0,
    map: bytes.subarray(40, 40 + MAP_BYTES),
    attributes: bytes.subarray(FIELDS_BYTES + extraBytes),
    attributeBlock: bytes.readUInt32LE(104) + bytes.readUInt16LE(118) * 2 ** 32,
    checksumSeed,
  };
}

/** The number that `stat` gives: the old form has 16 bits, the new one is that of Linux. */
export function deviceNumberOf({ map }: Inode): bigint {
  return BigInt(map.readUInt32LE(0) & 0xffff || map.readUInt32LE(4));
}

function formOf(flags: number): Inode['form'] {
  if ((flags & FLAGS.inline) !== 0) return 'inline';
  return (flags & FLAGS.extents) === 0 ? 'blocks' : 'extents';
}

/** Only files and folders can be so large that the size has a high part. */
function sizeOf(number: number, type: FileType, bytes: Buffer): number {
  const hasHigh = type === 'file' || type === 'directory';
  const size = bytes.readUInt32LE(4) + (hasHigh ? bytes.readUInt32LE(108) * 2 ** 32 : 0);
  if (!Number.isSafeInteger(size)) throw damaged(number, 'size');
  return size;
}

/** Seconds with sign, and two more bits of them below the nanoseconds ("Inode Timestamps"). */
function timeOf(seconds: number, extra: number): bigint {
  const nanoseconds = extra >>> 2;
  return (
    (BigInt(seconds) + (BigInt(extra & 3) << 32n)) * 1_000_000_000n +
    BigInt(Math.min(nanoseconds, 999_999_999))
  );
}

function inodeSeed({ checksumSeed }: Superblock, number: number, bytes: Buffer): number {
  return continueCrc32cByNumber(
    continueCrc32cByNumber(checksumSeed, number),
    bytes.readUInt32LE(100),
  );
}

/** The checksum has 32 bits where the inode is large enough for the higher ones. */
function isWhole(bytes: Buffer, seed: number): boolean {
  const copy = Buffer.from(bytes);
  copy.writeUInt16LE(0, 124);
  const isLong = bytes.length > FIELDS_BYTES && bytes.readUInt16LE(FIELDS_BYTES) >= 4;
  if (isLong) copy.writeUInt16LE(0, 130);
  const sum = continueCrc32c(seed, copy);
  if ((sum & 0xffff) !== bytes.readUInt16LE(124)) return false;
  return !isLong || sum >>> 16 === bytes.readUInt16LE(130);
}

function damaged(inode: number, reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'ext4 inode', inode, reason });
}
