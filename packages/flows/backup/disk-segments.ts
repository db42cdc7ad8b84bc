/** Cuts a disk, or a range of it, into segments of whole chunks: what is read and written at once. Pure. */
import type { ByteRange, Extent } from '@coffer/disk/disk.ts';

export interface DiskSegment {
  readonly firstChunkIndex: number;
  readonly chunkCount: number;
  readonly kind: 'data' | 'zero';
}

export interface SegmentSizes {
  /** Where the extents begin, and where the last of them ends, in bytes. */
  readonly range: ByteRange;
  readonly chunkSizeBytes: number;
  /** A data segment has no more chunks; a zero segment can have any number. */
  readonly chunksMax: number;
}

/** A chunk that an extent of data touches is data; all others are zero. */
export async function* diskSegments(
  extents: Iterable<Extent> | AsyncIterable<Extent>,
  sizes: SegmentSizes,
): AsyncGenerator<DiskSegment> {
  const { chunkSizeBytes, range } = sizes;
  const endOfRange = Math.ceil((range.offset + range.length) / chunkSizeBytes);
  let next = Math.floor(range.offset / chunkSizeBytes);
  for await (const { offset, length, kind } of extents) {
    const end = (offset + length) / chunkSizeBytes;
    // A chunk that an extent of zeroes only begins is decided by what follows.
    const endChunk = kind === 'data' ? Math.ceil(end) : Math.floor(end);
    if (endChunk <= next) continue;
    yield* split(next, endChunk, kind, sizes);
    next = endChunk;
  }
  if (next < endOfRange) yield* split(next, endOfRange, 'zero', sizes);
}

function* split(
  firstChunk: number,
  endChunk: number,
  kind: DiskSegment['kind'],
  { chunksMax }: SegmentSizes,
): Generator<DiskSegment> {
  const step = kind === 'zero' ? endChunk - firstChunk : chunksMax;
  for (let firstChunkIndex = firstChunk; firstChunkIndex < endChunk; firstChunkIndex += step) {
    yield { firstChunkIndex, chunkCount: Math.min(step, endChunk - firstChunkIndex), kind };
  }
}
