/**
 * The sector bitmap before the data of a block: one bit for each sector, the highest bit of a byte
 * first ("Block Allocation Table and Data Blocks"). In a differencing image, 1 says that the sector
 * is here and 0 that it is the parent's.
 */
import { SECTOR_BYTES, alignUp } from './sizes.ts';

export function bitmapBytesOf(blockSizeBytes: number): number {
  return alignUp(blockSizeBytes / SECTOR_BYTES / 8, SECTOR_BYTES);
}

export function isPresent(bitmap: Uint8Array, sector: number): boolean {
  return (bitmap[sector >>> 3]! & (0x80 >>> (sector & 7))) !== 0;
}

/** Where the run of equal bits ends that begins with `sector`, at the latest at `end`. */
export function endOfRun(bitmap: Uint8Array, sector: number, end: number): number {
  const wanted = isPresent(bitmap, sector);
  const wholeByte = wanted ? 0xff : 0;
  let at = sector + 1;
  while (at < end) {
    if ((at & 7) === 0 && bitmap[at >>> 3] === wholeByte) at += 8;
    else if (isPresent(bitmap, at) === wanted) at++;
    else break;
  }
  return Math.min(at, end);
}

/** Sets the bits from `sector` to before `end`; tells whether one was not set before. */
export function markPresent(bitmap: Uint8Array, sector: number, end: number): boolean {
  let changed = false;
  for (let at = sector; at < end; at++) {
    if (isPresent(bitmap, at)) continue;
    bitmap[at >>> 3]! |= 0x80 >>> (at & 7);
    changed = true;
  }
  return changed;
}
