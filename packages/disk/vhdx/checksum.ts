/** The checksum of all structures ([MS-VHDX] 2). */
import { crc32c } from '@coffer/base/crc32c.ts';

const ZERO_FIELD = Buffer.alloc(4);

/** The checksum of a structure, whose own checksum counts as zero. */
export function checksumOf(bytes: Uint8Array, fieldOffset: number): number {
  const before = crc32c(bytes.subarray(0, fieldOffset));
  return crc32c(bytes.subarray(fieldOffset + ZERO_FIELD.length), crc32c(ZERO_FIELD, before));
}
