/**
 * CRC-32C (Castagnoli), eight bytes a step: what VHDX, ext4, XFS and btrfs check their structures by.
 */

/** The polynomial 0x1EDC6F41 with its bits reversed. */
const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;
/** `TABLES[n * 256 + byte]` is the remainder of the byte, followed by `n` zero bytes. */
const TABLES = makeTables();

/** What `continueCrc32c` begins with, where a format says nothing else. */
export const CRC32C_START = 0xffffffff;

/** The checksum of the bytes, or of what `before` is the checksum of, and the bytes. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  return ~continueCrc32c(~before, bytes) >>> 0;
}

/** The remainder alone: nothing is inverted, at the beginning or at the end. */
export function continueCrc32c(before: number, bytes: Uint8Array): number {
  let crc = before;
  let at = 0;
  for (const end = bytes.length - (bytes.length % SLICES); at < end; at += SLICES) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      TABLES[1792 + (crc & 0xff)]! ^
      TABLES[1536 + ((crc >>> 8) & 0xff)]! ^
      TABLES[1280 + ((crc >>> 16) & 0xff)]! ^
      TABLES[1024 + (crc >>> 24)]! ^
      TABLES[768 + bytes[at + 4]!]! ^
      TABLES[512 + bytes[at + 5]!]! ^
      TABLES[256 + bytes[at + 6]!]! ^
      TABLES[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) crc = TABLES[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return crc >>> 0;
}

/** Goes on with a number of 32 bits, little-endian. */
export function continueCrc32cByNumber(before: number, value: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return continueCrc32c(before, bytes);
}

function makeTables(): Int32Array {
  const tables = new Int32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let rest = byte;
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? POLYNOMIAL : 0);
    tables[byte] = rest;
  }
  for (let index = 256; index < tables.length; index++) {
    const before = tables[index - 256]!;
    tables[index] = (before >>> 8) ^ tables[before & 0xff]!;
  }
  return tables;
}
