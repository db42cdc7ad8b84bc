/** Where the blocks of a file are: by a tree of extents, or by blocks of block numbers (ext2). */
import { CofferError } from '@coffer/base';
import {
  type BlockRun,
  type ExtentBounds,
  type ExtentNode,
  isExtentBlockWhole,
  parseExtentNode,
} from './extent-codec.ts';
import type { Inode } from './inode-codec.ts';
import type { Ext4Volume } from './volume.ts';

/** A range of a file in blocks. */
interface BlockRange {
  readonly first: number;
  readonly end: number;
}

/**
 * The runs that a range of a file has, in order; what is between them is a hole. A run may begin
 * before the range and end after it. Fails with `file-system-damaged`.
 */
export async function* blockRuns(
  volume: Ext4Volume,
  inode: Inode,
  range: BlockRange,
): AsyncIterable<BlockRun> {
  if (inode.form === 'blocks') yield* indirectRuns(volume, inode, range);
  else yield* extentRuns({ volume, inode, range }, parseExtentNode(inode.map), 2 ** 32);
}

interface ExtentWalk {
  readonly volume: Ext4Volume;
  readonly inode: Inode;
  readonly range: BlockRange;
}

/** `nodeEnd` is where the range of the node ends. */
async function* extentRuns(
  walk: ExtentWalk,
  node: ExtentNode,
  nodeEnd: number,
): AsyncIterable<BlockRun> {
  const { volume, range } = walk;
  if ('runs' in node) {
    for (const run of node.runs) {
      if (run.fileBlock >= range.end || run.fileBlock + run.count <= range.first) continue;
      if (run.blockIndex !== undefined) {
        volume.requireBlocks(run.blockIndex, run.count, 'ext4 extent');
      }
      yield run;
    }
    return;
  }
  for (const [index, { fileBlock, blockIndex }] of node.children.entries()) {
    const end = node.children[index + 1]?.fileBlock ?? nodeEnd;
    if (fileBlock >= range.end || end <= range.first) continue;
    const bounds = { depth: node.depth - 1, first: fileBlock, end };
    yield* extentRuns(walk, await readNode(walk, blockIndex, bounds), end);
  }
}

async function readNode(
  { volume, inode }: ExtentWalk,
  blockIndex: number,
  bounds: ExtentBounds,
): Promise<ExtentNode> {
  const bytes = await volume.readBlock(blockIndex, 'ext4 extent tree');
  if (volume.superblock.hasChecksums && !isExtentBlockWhole(bytes, inode.checksumSeed)) {
    const details = { structure: 'ext4 extent tree', reason: 'checksum', blockIndex };
    throw new CofferError('file-system-damaged', { ...details, inode: inode.number });
  }
  return parseExtentNode(bytes, bounds);
}

const DIRECT_COUNT = 12;
const NUMBER_BYTES = 4;

/** Twelve blocks are named in the inode, others in blocks of numbers, up to three deep. */
async function* indirectRuns(
  volume: Ext4Volume,
  inode: Inode,
  range: BlockRange,
): AsyncIterable<BlockRun> {
  const perBlock = volume.superblock.blockBytes / NUMBER_BYTES;
  const direct = inode.map.subarray(0, DIRECT_COUNT * NUMBER_BYTES);
  yield* numberRuns(volume, range, { bytes: direct, first: 0, level: 0 });
  let first = DIRECT_COUNT;
  for (let level = 1; level <= 3; level++) {
    const start = (DIRECT_COUNT + level - 1) * NUMBER_BYTES;
    const bytes = inode.map.subarray(start, start + NUMBER_BYTES);
    yield* numberRuns(volume, range, { bytes, first, level });
    first += perBlock ** level;
  }
}

/** Numbers of blocks; each stands for as many blocks of the file as its level says. */
interface Numbers {
  readonly bytes: Buffer;
  /** The block of the file that the first number stands for. */
  readonly first: number;
  /** 0 when the numbers are those of the file's own blocks. */
  readonly level: number;
}

async function* numberRuns(
  volume: Ext4Volume,
  range: BlockRange,
  { bytes, first, level }: Numbers,
): AsyncIterable<BlockRun> {
  const each = (volume.superblock.blockBytes / NUMBER_BYTES) ** level;
  const count = bytes.length / NUMBER_BYTES;
  const from = Math.max(0, Math.floor((range.first - first) / each));
  const to = Math.min(count, Math.ceil((range.end - first) / each));
  for (let index = from; index < to; index++) {
    const blockIndex = bytes.readUInt32LE(index * NUMBER_BYTES);
    if (blockIndex === 0) continue;
    volume.requireBlocks(blockIndex, 1, 'ext4 block map');
    const fileBlock = first + index * each;
    if (level === 0) yield { fileBlock, count: 1, blockIndex };
    else {
      const below = await volume.readBlock(blockIndex, 'ext4 block map');
      yield* numberRuns(volume, range, { bytes: below, first: fileBlock, level: level - 1 });
    }
  }
}
