/** Sizes that the format fixes, in bytes ([MS-VHDX] 2.1 to 2.6), and bounds of what is read. */

export const MIB = 1024 * 1024;

/** All structures begin at a multiple of it (2.1). */
export const ALIGNMENT_BYTES = MIB;

/** Identifier, headers and region tables (2.2). */
export const HEADER_SECTION_BYTES = MIB;

/** Metadata changes through the log in sectors of this size (2.3). */
export const LOG_SECTOR_BYTES = 4096;

/** A sector bitmap block holds a bit for each of 2^23 sectors (2.4). */
export const BITMAP_BLOCK_BYTES = MIB;
export const SECTORS_PER_CHUNK = BITMAP_BLOCK_BYTES * 8;

export const BLOCK_BYTES_MIN = MIB;
export const BLOCK_BYTES_MAX = 256 * MIB;

/** 64 TB (2.6.2.2). */
export const DISK_BYTES_MAX = 64 * 1024 * 1024 * MIB;

/** Twice what a full disk of the largest size takes: offsets beyond that mean nothing. */
export const FILE_BYTES_MAX = 2 * DISK_BYTES_MAX;

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
