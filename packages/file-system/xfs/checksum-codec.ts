/** The checksums of version 5: CRC-32C of a structure, in which the checksum itself is zero. */
import { continueCrc32c, CRC32C_START } from '@coffer/base/crc32c.ts';
import type { Fields } from './fields.ts';

const CHECKSUM_BYTES = 4;
const NO_CHECKSUM = Buffer.alloc(CHECKSUM_BYTES);

/** Fails with `file-system-damaged` unless the structure has the checksum that it says at `at`. */
export function requireChecksum(fields: Fields, at: number): void {
  const before = continueCrc32c(CRC32C_START, fields.part(0, at).bytes);
  const after = continueCrc32c(
    continueCrc32c(before, NO_CHECKSUM),
    fields.part(at + CHECKSUM_BYTES).bytes,
  );
  // Of all integers these are the only little-endian ones.
  const wanted = fields.part(at, CHECKSUM_BYTES).bytes.readUInt32LE(0);
  if (~after >>> 0 !== wanted) throw fields.damaged('its checksum differs');
}
