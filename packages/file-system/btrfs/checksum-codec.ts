/** Checksums of superblocks and tree blocks: over all that follows the place of the checksum. */
import { createHash } from 'node:crypto';
import { continueCrc32c, CRC32C_START } from '@coffer/base/crc32c.ts';

/** `BTRFS_CSUM_SIZE`. */
export const CHECKSUM_BYTES = 32;
const CRC32C = 0;
const SHA256 = 2;
/** xxhash64 and blake2b-256 are not in Node: blocks with these are taken as they are. */
const KNOWN_TYPE_MAX = 3;

export function isKnownChecksum(type: number): boolean {
  return type <= KNOWN_TYPE_MAX;
}

/** True where the kind of checksum cannot be verified. */
export function isChecksumRight(block: Buffer, type: number): boolean {
  const content = block.subarray(CHECKSUM_BYTES);
  if (type === CRC32C) {
    return block.readUInt32LE(0) === (continueCrc32c(CRC32C_START, content) ^ 0xffff_ffff) >>> 0;
  }
  if (type !== SHA256) return true;
  return createHash('sha256').update(content).digest().equals(block.subarray(0, CHECKSUM_BYTES));
}

/** The hash of a name in a folder (`btrfs_name_hash`). */
export function nameHash(name: Buffer): bigint {
  return BigInt(continueCrc32c(0xffff_fffe, name));
}
