/** Contents of forks: the extents of a file or of its attributes, and their bytes. */
import { type Extent, parseExtents, parseTreeBlock, parseTreeRoot } from './extent-codec.ts';
import { damaged, type Fields } from './fields.ts';
import type { Fork } from './inode-codec.ts';
import { blockOffset, readFields, readInto, type Volume } from './volume.ts';

/** Deeper trees are not possible with the smallest blocks. */
const LEVEL_MAX = 9;

/**
 * The extents that have a block from `start` to before `end`, in order. What they do not cover are
 * holes. Only the blocks of the tree on the way are read, and none twice.
 */
export async function* extentsOf(
  volume: Volume,
  fork: Fork,
  start: number,
  end: number,
): AsyncIterable<Extent> {
  let next = 0;
  for await (const extent of allExtents(volume, fork, start, end)) {
    // Order is what makes the walk end: a block that is named twice has extents that were there.
    if (extent.start < next) throw fork.bytes.damaged(`extents overlap at block ${extent.start}`);
    next = extent.start + extent.count;
    if (extent.start >= end) return;
    if (next > start) yield extent;
  }
}

async function* allExtents(
  volume: Volume,
  fork: Fork,
  start: number,
  end: number,
): AsyncIterable<Extent> {
  if (fork.format === 'extents') {
    yield* parseExtents(fork.bytes, fork.extentCount);
    return;
  }
  if (fork.format === 'local') throw fork.bytes.damaged('it has no blocks');
  const root = parseTreeRoot(fork.bytes);
  if (root.level > LEVEL_MAX) throw fork.bytes.damaged(`a tree of ${root.level} levels`);
  yield* walk(volume, root, start, end);
}

async function* walk(
  volume: Volume,
  { level, children }: Exclude<ReturnType<typeof parseTreeBlock>, Extent[]>,
  start: number,
  end: number,
): AsyncIterable<Extent> {
  for (const [index, child] of children.entries()) {
    // All before the next key is in this child.
    const nextStart = children[index + 1]?.start;
    if (nextStart !== undefined && nextStart <= start) continue;
    if (child.start >= end) return;
    const block = await readTreeBlock(volume, child.place);
    const node = parseTreeBlock(block, volume.geometry);
    if (Array.isArray(node)) {
      if (level !== 1 || node.length === 0) throw block.damaged('a leaf out of its place');
      yield* node;
    } else {
      if (node.level !== level - 1) throw block.damaged(`level ${node.level} under ${level}`);
      yield* walk(volume, node, start, end);
    }
  }
}

async function readTreeBlock(volume: Volume, place: bigint): Promise<Fields> {
  const offset = blockOffset(volume, place, 'extent tree');
  return await readFields(volume.disk, offset, volume.geometry.blockBytes, 'extent tree');
}

/** Fills `target` with what the fork has at `offset`. Holes and reserved blocks are zeroes. */
export async function readFork(
  volume: Volume,
  fork: Fork,
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const { blockBytes } = volume.geometry;
  const end = offset + target.length;
  let next = offset;
  const blocks = { start: Math.floor(offset / blockBytes), end: Math.ceil(end / blockBytes) };
  for await (const extent of extentsOf(volume, fork, blocks.start, blocks.end)) {
    if (!extent.isWritten) continue;
    const from = Math.max(next, extent.start * blockBytes);
    const to = Math.min(end, (extent.start + extent.count) * blockBytes);
    target.fill(0, next - offset, from - offset);
    await readExtent(volume, extent, from, target.subarray(from - offset, to - offset));
    next = to;
  }
  target.fill(0, next - offset);
}

async function readExtent(
  volume: Volume,
  extent: Extent,
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const { blockBytes, blocksPerGroup, groupBits } = volume.geometry;
  const place = blockOffset(volume, extent.place, 'extent');
  const inGroup = Number(BigInt.asUintN(groupBits, extent.place));
  if (inGroup + extent.count > blocksPerGroup) {
    throw damaged('extent', place, 'it leaves its allocation group');
  }
  await readInto(volume.disk, place + offset - extent.start * blockBytes, target, 'extent');
}
