/** A node of a tree of extents (kernel documentation, "Extent Tree"). Numbers are blocks. */
import { CofferError } from '@coffer/base';
import { continueCrc32c } from '@coffer/base/crc32c.ts';

/** A run of blocks of a file; `blockIndex` is undefined where it reads as zeroes. */
export interface BlockRun {
  readonly fileBlock: number;
  readonly count: number;
  readonly blockIndex: number | undefined;
}

/** A node below, which has all extents up to that of the next one. */
export interface ExtentChild {
  readonly fileBlock: number;
  readonly blockIndex: number;
}

export type ExtentNode =
  | { readonly depth: 0; readonly runs: readonly BlockRun[] }
  | { readonly depth: number; readonly children: readonly ExtentChild[] };

/** What the node above says of this one: nothing for the root, which is in the inode. */
export interface ExtentBounds {
  readonly depth: number;
  /** All that the node has is in this range of the file. */
  readonly first: number;
  readonly end: number;
}

const MAGIC = 0xf30a;
const ENTRY_BYTES = 12;
const DEPTH_MAX = 5;
/** Longer extents are allocated, but not written. */
const WRITTEN_BLOCKS_MAX = 32_768;

/**
 * Bounds keep hostile trees small: nodes below a node have ranges that do not overlap and are not
 * empty, so no node is met twice. Fails with `file-system-damaged`.
 */
export function parseExtentNode(bytes: Buffer, bounds?: ExtentBounds): ExtentNode {
  const count = bytes.readUInt16LE(2);
  const depth = bytes.readUInt16LE(6);
  if (bytes.readUInt16LE(0) !== MAGIC) throw damaged('magic');
  if ((count + 1) * ENTRY_BYTES > bytes.length) throw damaged('entry count');
  if (bounds ? depth !== bounds.depth || count === 0 : depth > DEPTH_MAX) throw damaged('depth');
  const entries = Array.from({ length: count }, (_, index) =>
    bytes.subarray((index + 1) * ENTRY_BYTES, (index + 2) * ENTRY_BYTES),
  );
  const { first = 0, end = 2 ** 32 } = bounds ?? {};
  if (depth > 0) {
    const children = entries.map(parseChild);
    requireOrdered(children, first, end);
    return { depth, children };
  }
  const runs = entries.map(parseRun);
  requireOrdered(runs, first, end);
  return { depth: 0, runs };
}

/** True when the checksum behind the last possible entry is right. */
export function isExtentBlockWhole(bytes: Buffer, inodeSeed: number): boolean {
  const tail = (bytes.readUInt16LE(4) + 1) * ENTRY_BYTES;
  if (tail + 4 > bytes.length) return false;
  return continueCrc32c(inodeSeed, bytes.subarray(0, tail)) === bytes.readUInt32LE(tail);
}

function parseChild(entry: Buffer): ExtentChild {
  return {
    fileBlock: entry.readUInt32LE(0),
    blockIndex: entry.readUInt32LE(4) + entry.readUInt16LE(8) * 2 ** 32,
  };
}

function parseRun(entry: Buffer): BlockRun {
  const length = entry.readUInt16LE(4);
  const isWritten = length <= WRITTEN_BLOCKS_MAX;
  const blockIndex = entry.readUInt32LE(8) + entry.readUInt16LE(6) * 2 ** 32;
  return {
    fileBlock: entry.readUInt32LE(0),
    count: isWritten ? length : length - WRITTEN_BLOCKS_MAX,
    blockIndex: isWritten ? blockIndex : undefined,
  };
}

function requireOrdered(
  entries: readonly { readonly fileBlock: number; readonly count?: number }[],
  first: number,
  end: number,
): void {
  let next = first;
  for (const { fileBlock, count = 1 } of entries) {
    if (fileBlock < next || count === 0 || fileBlock + count > end) throw damaged('order');
    next = fileBlock + count;
  }
}

function damaged(reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'ext4 extent tree', reason });
}
