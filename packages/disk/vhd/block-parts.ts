/** Ranges of a disk, cut at the borders of blocks. */
import type { ByteRange } from '../disk.ts';

/** A part of a range that lies in one block. */
export interface BlockPart extends ByteRange {
  readonly blockIndex: number;
  /** Bytes from the beginning of the block. */
  readonly within: number;
}

export function* blockParts(range: ByteRange, blockSizeBytes: number): Generator<BlockPart> {
  const end = range.offset + range.length;
  for (let { offset } = range; offset < end;) {
    const blockIndex = Math.floor(offset / blockSizeBytes);
    const blockEnd = (blockIndex + 1) * blockSizeBytes;
    const length = Math.min(end, blockEnd) - offset;
    yield { offset, length, blockIndex, within: offset - blockIndex * blockSizeBytes };
    offset += length;
  }
}
