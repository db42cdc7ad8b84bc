/** Disks made of parts of others: a partition, the segments of a logical volume, stripes. */
import { CofferError } from '@coffer/base';
import type { ByteRange, Disk, Extent } from '@coffer/disk/disk.ts';

/**
 * A part of a disk as a disk. A part that goes beyond the end of the disk is as large as it is said
 * to be, and reading what is not there fails with `file-system-damaged`. Closing it does not close
 * the disk.
 */
export function rangeDisk(disk: Disk, part: ByteRange): Disk {
  return {
    sizeBytes: part.length,
    async read(offset, target) {
      const end = Math.min(part.length, disk.sizeBytes - part.offset);
      requireInside(offset, target.length, end);
      await disk.read(part.offset + offset, target);
    },
    extents: (range = { offset: 0, length: part.length }) => extentsOf(disk, part.offset, range),
    close: async () => {},
  };
}

async function* extentsOf(disk: Disk, start: number, range: ByteRange): AsyncIterable<Extent> {
  const offset = start + range.offset;
  const length = Math.max(0, Math.min(range.length, disk.sizeBytes - offset));
  if (length > 0) {
    for await (const extent of disk.extents({ offset, length })) {
      yield { ...extent, offset: extent.offset - start };
    }
  }
  // What is beyond the end of the disk is told as data, so that whoever reads it learns of it.
  if (length < range.length) {
    yield { offset: range.offset + length, length: range.length - length, kind: 'data' };
  }
}

/** Disks one after the other as one disk. Closing it does not close them. */
export function joinedDisk(parts: readonly Disk[]): Disk {
  const starts: number[] = [];
  let sizeBytes = 0;
  for (const part of parts) {
    starts.push(sizeBytes);
    sizeBytes += part.sizeBytes;
  }

  /** The parts that a range touches, with what of them. */
  function* touched({ offset, length }: ByteRange): Iterable<{ part: Disk } & Piece> {
    for (const [index, part] of parts.entries()) {
      const start = starts[index]!;
      const from = Math.max(offset, start);
      const to = Math.min(offset + length, start + part.sizeBytes);
      if (from < to) yield { part, start, from, to };
    }
  }

  return {
    sizeBytes,
    async read(offset, target) {
      requireInside(offset, target.length, sizeBytes);
      for (const { part, start, from, to } of touched({ offset, length: target.length })) {
        await part.read(from - start, target.subarray(from - offset, to - offset));
      }
    },
    async *extents(range = { offset: 0, length: sizeBytes }): AsyncIterable<Extent> {
      for (const { part, start, from, to } of touched(range)) {
        for await (const extent of part.extents({ offset: from - start, length: to - from })) {
          yield { ...extent, offset: extent.offset + start };
        }
      }
    },
    close: async () => {},
  };
}

/** Disks of one size by turns: the first stripe is of the first one. Closing it does not close them. */
export function stripedDisk(parts: readonly Disk[], stripeBytes: number): Disk {
  const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0);
  return {
    sizeBytes,
    async read(offset, target) {
      requireInside(offset, target.length, sizeBytes);
      for (let done = 0; done < target.length;) {
        const place = offset + done;
        const stripe = Math.floor(place / stripeBytes);
        const within = place % stripeBytes;
        const length = Math.min(stripeBytes - within, target.length - done);
        const start = Math.floor(stripe / parts.length) * stripeBytes + within;
        await parts[stripe % parts.length]!.read(start, target.subarray(done, done + length));
        done += length;
      }
    },
    // Holes of stripes are too small to be told.
    *extents(range = { offset: 0, length: sizeBytes }): Iterable<Extent> {
      if (range.length > 0) yield { ...range, kind: 'data' };
    },
    close: async () => {},
  };
}

/** Bytes `from` up to `to` of the whole lie in the part that begins at `start`. */
interface Piece {
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

function requireInside(offset: number, length: number, sizeBytes: number): void {
  if (Number.isSafeInteger(offset) && offset >= 0 && offset + length <= sizeBytes) return;
  const reason = 'beyond the end of the volume';
  throw new CofferError('file-system-damaged', { reason, offset, length, sizeBytes });
}
