/** CRC-32C (Castagnoli) as ext4 has it: the start is a parameter, and nothing is inverted. */

const POLYNOMIAL = 0x82f63b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 0 ? 0 : POLYNOMIAL);
  return crc >>> 0;
});

export const CRC32C_START = 0xffffffff;

/** Goes on from `crc` with these bytes. */
export function crc32c(crc: number, bytes: Uint8Array): number {
  let result = crc;
  for (let index = 0; index < bytes.length; index++) {
    result = TABLE[(result ^ bytes[index]!) & 0xff]! ^ (result >>> 8);
  }
  return result >>> 0;
}

/** Goes on with a number of 32 bits, little-endian. */
export function crc32cOfNumber(crc: number, value: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return crc32c(crc, bytes);
}
