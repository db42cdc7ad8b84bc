/** The header of a swap area of Linux (include/linux/swap.h, `union swap_header`), on pages of 4 KiB. */

export const SWAP_HEADER_BYTES = 4096;
const MAGIC = 'SWAPSPACE2';
const VERSION_OFFSET = 1024;
const VERSION = 1;
const LAST_PAGE_OFFSET = 1028;

/**
 * Where the area ends, in bytes. Undefined for anything else, for one that keeps a hibernated
 * system too, whose header says so, and for one of other pages or of another byte order.
 */
export function swapEndOf(header: Buffer): number | undefined {
  const magic = header.toString('latin1', SWAP_HEADER_BYTES - MAGIC.length, SWAP_HEADER_BYTES);
  if (magic !== MAGIC || header.readUInt32LE(VERSION_OFFSET) !== VERSION) return undefined;
  return (header.readUInt32LE(LAST_PAGE_OFFSET) + 1) * SWAP_HEADER_BYTES;
}
