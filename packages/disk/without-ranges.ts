/** A disk of which some ranges are left out: they read as zeroes, and the disk is not asked for them. */
import { type ByteRange, type Disk, type Extent, wholeOf } from './disk.ts';

/** The ranges may be in any order, and may overlap. Closing it closes the disk. */
export function withoutRanges(disk: Disk, ranges: readonly ByteRange[]): Disk {
  const leftOut = joinedRanges(ranges);
  return {
    sizeBytes: disk.sizeBytes,
    async read(offset, target) {
      let done = 0;
      for (const part of partsOutside({ offset, length: target.length }, leftOut)) {
        const start = part.offset - offset;
        target.fill(0, done, start);
        done = start + part.length;
        await disk.read(part.offset, target.subarray(start, done));
      }
      target.fill(0, done);
    },
    async *extents(range = wholeOf(disk)): AsyncIterable<Extent> {
      let at = range.offset;
      for (const part of partsOutside(range, leftOut)) {
        if (part.offset > at) yield { offset: at, length: part.offset - at, kind: 'zero' };
        yield* disk.extents(part);
        at = part.offset + part.length;
      }
      const end = range.offset + range.length;
      if (end > at) yield { offset: at, length: end - at, kind: 'zero' };
    },
    close: () => disk.close(),
  };
}

/** What of the given ranges is in none of those that are left out. */
export async function* rangesOutside(
  ranges: AsyncIterable<ByteRange>,
  leftOut: readonly ByteRange[],
): AsyncGenerator<ByteRange> {
  const joined = joinedRanges(leftOut);
  for await (const range of ranges) yield* partsOutside(range, joined);
}

/** All of ranges that are in order, and of others, which need not be: in order, without overlaps. */
export async function* mergedRanges(
  ranges: AsyncIterable<ByteRange>,
  others: readonly ByteRange[],
): AsyncGenerator<ByteRange> {
  let done = 0;
  for await (const { offset, length } of interleaved(ranges, joinedRanges(others))) {
    const [start, end] = [Math.max(offset, done), offset + length];
    if (end > start) yield { offset: start, length: end - start };
    done = Math.max(done, end);
  }
}

/** By where they begin; both are in order. */
async function* interleaved(
  ranges: AsyncIterable<ByteRange>,
  others: readonly ByteRange[],
): AsyncGenerator<ByteRange> {
  let index = 0;
  for await (const range of ranges) {
    while (index < others.length && others[index]!.offset < range.offset) yield others[index++]!;
    yield range;
  }
  yield* others.slice(index);
}

/** In order, without overlaps and without neighbours. */
export function joinedRanges(ranges: readonly ByteRange[]): ByteRange[] {
  const joined: ByteRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.offset - b.offset)) {
    const last = joined.at(-1);
    if (last && range.offset <= last.offset + last.length) {
      const end = Math.max(last.offset + last.length, range.offset + range.length);
      joined[joined.length - 1] = { offset: last.offset, length: end - last.offset };
    } else if (range.length > 0) {
      joined.push(range);
    }
  }
  return joined;
}

/** The left-out ranges are joined. */
function* partsOutside(
  { offset, length }: ByteRange,
  leftOut: readonly ByteRange[],
): Generator<ByteRange> {
  const end = offset + length;
  let at = offset;
  for (let index = firstEndingAfter(leftOut, offset); at < end; index++) {
    const next = leftOut[index];
    const start = Math.min(end, next?.offset ?? end);
    if (start > at) yield { offset: at, length: start - at };
    if (!next || next.offset >= end) return;
    at = next.offset + next.length;
  }
}

/** By halves: a swap file may be in very many pieces. */
function firstEndingAfter(ranges: readonly ByteRange[], offset: number): number {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const range = ranges[middle]!;
    if (range.offset + range.length > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}
