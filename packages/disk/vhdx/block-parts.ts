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
    const within = offset - blockIndex * blockSizeBytes;
    const length = Math.min(end - offset, blockSizeBytes - within);
    yield { offset, length, blockIndex, within };
    offset += length;
  }
}
