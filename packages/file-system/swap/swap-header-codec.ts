/** The header of a swap area of Linux (include/linux/swap.h, `union swap_header`), on pages of 4 KiB. */

export const SWAP_HEADER_BYTES = 4096;
const MAGIC = 'SWAPSPACE2';
/** In the place of the magic while the area keeps a hibernated system; as util-linux knows them. */
const HIBERNATED = ['S1SUSPEND', 'S2SUSPEND', 'ULSUSPEND', 'LINHIB0001'];
const VERSION_OFFSET = 1024;
const VERSION = 1;
const LAST_PAGE_OFFSET = 1028;

export function isHibernated(header: Buffer): boolean {
  const magic = magicOf(header);
  return HIBERNATED.some((each) => magic.startsWith(each));
}

/** Where the area ends, in bytes. Undefined for all else, and for other pages or another byte order. */
export function swapEndOf(header: Buffer): number | undefined {
  if (magicOf(header) !== MAGIC || header.readUInt32LE(VERSION_OFFSET) !== VERSION)
    return undefined;
  return (header.readUInt32LE(LAST_PAGE_OFFSET) + 1) * SWAP_HEADER_BYTES;
}

function magicOf(header: Buffer): string {
  return header.toString('latin1', SWAP_HEADER_BYTES - MAGIC.length, SWAP_HEADER_BYTES);
}
