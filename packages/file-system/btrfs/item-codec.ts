/** The items of a tree of files: inodes, names, attributes, extents, and subvolumes. */
import type { FileType } from '@coffer/base';
import type { Fields } from './fields.ts';
import { type Key, KEY_BYTES, parseKey } from './key-codec.ts';
import type { BlockPointer } from './superblock-codec.ts';

const TYPES: Readonly<Record<number, FileType>> = {
  0o01: 'fifo',
  0o02: 'character-device',
  0o04: 'directory',
  0o06: 'block-device',
  0o10: 'file',
  0o12: 'symlink',
  0o14: 'socket',
};

export interface Inode {
  readonly type: FileType;
  readonly mode: number;
  readonly userId: number;
  readonly groupId: number;
  readonly sizeBytes: number;
  readonly linkCount: number;
  readonly deviceNumber: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

/** `struct btrfs_inode_item`. */
export function parseInode(fields: Fields): Inode {
  const mode = fields.u32(52);
  const type = TYPES[mode >>> 12];
  if (!type) throw fields.damaged(`an inode of mode 0o${mode.toString(8)}`);
  return {
    type,
    mode: mode & 0o7777,
    userId: fields.u32(44),
    groupId: fields.u32(48),
    sizeBytes: fields.size64(16),
    linkCount: fields.u32(40),
    deviceNumber: parseDevice(fields.u64(56)),
    modifiedNs: parseTime(fields, 136),
    changedNs: parseTime(fields, 124),
  };
}

/** The kernel has 20 bits of minor number below the major one; programs see it as makedev(3) does. */
function parseDevice(device: bigint): bigint {
  const minor = device & 0xfffffn;
  const major = (device >> 20n) & 0xffff_ffffn;
  return (
    (minor & 0xffn) |
    ((major & 0xfffn) << 8n) |
    ((minor & ~0xffn) << 12n) |
    ((major & ~0xfffn) << 32n)
  );
}

/** `struct btrfs_timespec`. */
function parseTime(fields: Fields, at: number): bigint {
  return fields.i64(at) * 1_000_000_000n + BigInt(fields.u32(at + 8));
}

/** Of a `struct btrfs_dir_item`; for an attribute `value` is what it holds. */
export interface NamedItem {
  readonly name: Buffer;
  readonly target: Key;
  readonly value: Buffer;
}

const NAMED_BYTES = KEY_BYTES + 13;

/** Several names with one hash are behind each other. */
export function parseNamed(fields: Fields): NamedItem[] {
  const found: NamedItem[] = [];
  for (let at = 0; at < fields.length;) {
    const valueBytes = fields.u16(at + 25);
    const nameBytes = fields.u16(at + 27);
    const name = fields.part(at + NAMED_BYTES, nameBytes);
    const value = fields.part(at + NAMED_BYTES + nameBytes, valueBytes);
    const target = parseKey(fields, at);
    found.push({ name: Buffer.from(name.bytes), target, value: Buffer.from(value.bytes) });
    at += NAMED_BYTES + nameBytes + valueBytes;
  }
  return found;
}

/** Extents of files: `struct btrfs_file_extent_item`. */
export type Extent =
  | {
      readonly form: 'inline';
      readonly bytes: Buffer;
      readonly compressed: Compression | undefined;
    }
  | { readonly form: 'hole'; readonly length: number }
  | {
      readonly form: 'stored';
      readonly address: number;
      readonly storedBytes: number;
      /** Where in the extent, after decompression, the part begins that the file shows. */
      readonly offset: number;
      readonly length: number;
      readonly compressed: Compression | undefined;
    };

export interface Compression {
  readonly algorithm: 'zlib' | 'lzo' | 'zstd';
  /** Length of all that the extent holds, decompressed. */
  readonly sizeBytes: number;
}

const INLINE = 0;
const STORED = 1;
const PREALLOCATED = 2;
const INLINE_OFFSET = 21;
/** The kernel compresses pieces of 128 KiB; this leaves room for what it may do one day. */
const COMPRESSED_BYTES_MAX = 1024 * 1024;

/** Undefined for an extent that only a newer btrfs can read. */
export function parseExtent(fields: Fields): Extent | undefined {
  const isEncoded = fields.u8(17) !== 0 || fields.u16(18) !== 0;
  if (isEncoded || fields.u8(16) > 3) return undefined;
  const compressed = parseCompression(fields);
  const type = fields.u8(20);
  if (type === INLINE) {
    return { form: 'inline', bytes: fields.part(INLINE_OFFSET).bytes, compressed };
  }
  if (type !== STORED && type !== PREALLOCATED) throw fields.damaged(`an extent of type ${type}`);
  const address = fields.size64(21);
  const length = fields.size64(45);
  if (address === 0 || type === PREALLOCATED) return { form: 'hole', length };
  const storedBytes = fields.size64(29);
  const offset = fields.size64(37);
  if (compressed && storedBytes > COMPRESSED_BYTES_MAX) {
    throw fields.damaged(`${storedBytes} bytes, compressed`);
  }
  if (offset + length > (compressed?.sizeBytes ?? storedBytes)) {
    throw fields.damaged(`${length} bytes at ${offset} are not in the extent`);
  }
  return { form: 'stored', address, storedBytes, offset, length, compressed };
}

function parseCompression(fields: Fields): Compression | undefined {
  const algorithm = ([undefined, 'zlib', 'lzo', 'zstd'] as const)[fields.u8(16)];
  if (!algorithm) return undefined;
  const sizeBytes = fields.size64(8);
  if (sizeBytes === 0 || sizeBytes > COMPRESSED_BYTES_MAX)
    throw fields.damaged(`${sizeBytes} bytes, decompressed`);
  return { algorithm, sizeBytes };
}

/** `struct btrfs_root_item`; undefined for one that is being deleted. */
export function parseRoot(fields: Fields): BlockPointer | undefined {
  if (fields.u32(216) === 0) return undefined;
  return { address: fields.size64(176), generation: fields.u64(160), level: fields.u8(238) };
}

/** `struct btrfs_root_ref`: under which name a subvolume is in which folder. */
export function parseRootReference(fields: Fields): { folder: bigint; name: Buffer } {
  return { folder: fields.u64(0), name: fields.part(18, fields.u16(16)).bytes };
}
