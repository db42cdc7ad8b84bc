/** Bits of a sector bitmap: bit 0 of byte 0 is the first sector ([MS-VHDX] 2.4). */

export function isPresent(bitmap: Buffer, sector: number): boolean {
  return (bitmap[sector >>> 3]! & (1 << (sector & 7))) !== 0;
}

/** Where the run of equal bits ends that begins at `sector`; at most `end`. */
export function endOfRun(bitmap: Buffer, sector: number, end: number): number {
  const present = isPresent(bitmap, sector);
  const whole = present ? 0xff : 0;
  let next = sector + 1;
  while (next < end) {
    if ((next & 7) === 0 && bitmap[next >>> 3] === whole) next += 8;
    else if (isPresent(bitmap, next) === present) next++;
    else break;
  }
  return Math.min(next, end);
}

/** Sets the bits from `sector` to before `end`. */
export function markPresent(bitmap: Buffer, sector: number, end: number): void {
  let next = sector;
  for (; next < end && (next & 7) !== 0; next++) bitmap[next >>> 3]! |= 1 << (next & 7);
  bitmap.fill(0xff, next >>> 3, end >>> 3);
  for (next = Math.max(next, end - (end & 7)); next < end; next++) {
    bitmap[next >>> 3]! |= 1 << (next & 7);
  }
}
