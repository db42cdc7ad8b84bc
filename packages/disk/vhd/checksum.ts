/**
 * The checksum of the footer and the dynamic header: the ones' complement of the sum of all bytes,
 * those of the checksum left out ("Appendix: Checksum Calculation").
 */

const CHECKSUM_BYTES = 4;

export function checksumOf(bytes: Uint8Array, fieldOffset: number): number {
  let sum = 0;
  for (const byte of bytes) sum += byte;
  for (const byte of bytes.subarray(fieldOffset, fieldOffset + CHECKSUM_BYTES)) sum -= byte;
  return ~sum >>> 0;
}
