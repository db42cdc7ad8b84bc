/** Extents, and the blocks of the B-trees that hold them where there are many (xfs_bmbt). */
import { requireChecksum } from './checksum-codec.ts';
import type { Fields } from './fields.ts';
import type { Geometry } from './superblock-codec.ts';

/** Blocks of a fork that follow each other on the volume. */
export interface Extent {
  /** First block of the fork. */
  readonly start: number;
  readonly count: number;
  /** First block on the volume, with the allocation group in its high bits. */
  readonly place: bigint;
  /** False where blocks are only reserved: they read as zeroes. */
  readonly isWritten: boolean;
}

const EXTENT_BYTES = 16;
const KEY_BYTES = 8;
const POINTER_BYTES = 8;
const HEADER_BYTES = { old: 24, checked: 72 } as const;
const ROOT_HEADER_BYTES = 4;
const CRC_AT = 64;

export function parseExtents(records: Fields, count: number): Extent[] {
  const all = records.part(0, count * EXTENT_BYTES);
  return Array.from({ length: count }, (_, index) => parseExtent(all, index * EXTENT_BYTES));
}

/** 1 bit: unwritten, 54: first block of the fork, 52: place, 21: count. */
function parseExtent(records: Fields, at: number): Extent {
  const high = records.u64(at);
  const low = records.u64(at + 8);
  const count = Number(low & 0x1f_ffffn);
  if (count === 0) throw records.damaged(`the extent at ${at} is empty`);
  return {
    start: Number((high >> 9n) & 0x3f_ffff_ffff_ffffn),
    count,
    place: ((high & 0x1ffn) << 43n) | (low >> 21n),
    isWritten: high >> 63n === 0n,
  };
}

/** A node that leads to others: each child begins with the block of the fork that its key says. */
export interface TreeNode {
  readonly level: number;
  readonly children: readonly { readonly start: number; readonly place: bigint }[];
}

/** The root in an inode: level, count, keys, pointers. */
export function parseTreeRoot(fork: Fields): TreeNode {
  const level = fork.u16(0);
  if (level === 0) throw fork.damaged('the root of a tree has no children');
  const room = Math.floor((fork.length - ROOT_HEADER_BYTES) / (KEY_BYTES + POINTER_BYTES));
  return { level, children: parseChildren(fork.part(ROOT_HEADER_BYTES), fork.u16(2), room) };
}

/** A block of a tree: a node, or the extents of a leaf. */
export function parseTreeBlock(block: Fields, geometry: Geometry): TreeNode | Extent[] {
  const { hasChecksums, blockBytes } = geometry;
  const magic = hasChecksums ? 'BMA3' : 'BMAP';
  if (block.bytes.toString('latin1', 0, 4) !== magic) throw block.damaged('no signature');
  if (hasChecksums) requireChecksum(block, CRC_AT);
  const headerBytes = hasChecksums ? HEADER_BYTES.checked : HEADER_BYTES.old;
  const level = block.u16(4);
  const count = block.u16(6);
  const body = block.part(headerBytes);
  if (level === 0) return parseExtents(body, count);
  const room = Math.floor((blockBytes - headerBytes) / (KEY_BYTES + POINTER_BYTES));
  return { level, children: parseChildren(body, count, room) };
}

/** Keys stand together, and behind the room for all of them the pointers. */
function parseChildren(body: Fields, count: number, room: number): TreeNode['children'] {
  if (count === 0 || count > room) throw body.damaged(`${count} children, with room for ${room}`);
  return Array.from({ length: count }, (_, index) => ({
    start: body.size64(index * KEY_BYTES),
    place: body.u64(room * KEY_BYTES + index * POINTER_BYTES),
  }));
}
