/** Sizes of the format, and the limits that Coffer sets on what it reads. */

export const SECTOR_BYTES = 512;

/** What the 32-bit sector numbers of the table allow ("Dynamic Hard Disk Image"). */
export const DISK_BYTES_MAX = 2040 * 1024 ** 3;

/** The smallest that the specification was tested with; it bounds the table to 16 MiB. */
export const BLOCK_BYTES_MIN = 512 * 1024;
export const BLOCK_BYTES_DEFAULT = 2 * 1024 * 1024;
/** Larger than any known writer makes; it bounds a sector bitmap to 64 KiB. */
export const BLOCK_BYTES_MAX = 256 * 1024 * 1024;

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

export function isBlockSize(bytes: number): boolean {
  return bytes >= BLOCK_BYTES_MIN && bytes <= BLOCK_BYTES_MAX && isPowerOfTwo(bytes);
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
