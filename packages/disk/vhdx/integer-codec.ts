/** 64-bit integers as numbers. */

/** Exact below 2^53; what is larger stays larger, and so beyond every bound that it is checked by. */
export function readUint64(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset + 4) * 0x1_0000_0000 + bytes.readUInt32LE(offset);
}

export function writeUint64(bytes: Buffer, value: number, offset: number): void {
  bytes.writeBigUInt64LE(BigInt(value), offset);
}
