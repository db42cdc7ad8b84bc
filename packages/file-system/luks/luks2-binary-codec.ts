/**
 * The binary header of LUKS2, of which a volume has two copies, each before its own copy of the
 * metadata: LUKS2 on-disk format specification, section 2.1. Integers are big-endian.
 */
import { createHash } from 'node:crypto';
import { parseHash } from './algorithm-codec.ts';
import { damaged, unsupported } from './failures.ts';

export const LUKS2_BINARY_BYTES = 4096;

/** A header with its metadata has one of these sizes, and the second copy lies behind the first. */
export const LUKS2_HEADER_BYTES = [
  0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000,
] as const;

const STRUCTURE = 'LUKS2 header';
const MAGIC = Buffer.from('LUKS\xba\xbe', 'latin1');
const SECOND_MAGIC = Buffer.from('SKUL\xba\xbe', 'latin1');
const CHECKSUM_OFFSET = 448;
const CHECKSUM_BYTES = 64;

export interface BinaryHeader {
  /** Where it was read, in bytes of the volume. */
  readonly offset: number;
  /** With the metadata. */
  readonly headerBytes: number;
  /** The copy with the larger one was written later. */
  readonly sequence: bigint;
}

/** True for the start of a volume that has a LUKS header. */
export function hasLuksMagic(bytes: Buffer): boolean {
  return bytes.subarray(0, MAGIC.length).equals(MAGIC);
}

/**
 * Reads the first `LUKS2_BINARY_BYTES` of the copy at `offset`. Fails with `file-system-damaged`,
 * or with `file-system-unsupported` when the version is another.
 */
export function parseBinaryHeader(bytes: Buffer, offset: number): BinaryHeader {
  const magic = offset === 0 ? MAGIC : SECOND_MAGIC;
  if (!bytes.subarray(0, magic.length).equals(magic)) throw damaged(STRUCTURE, offset, 'magic');
  const version = bytes.readUInt16BE(6);
  if (version !== 2) throw unsupported(`LUKS version ${version}`);
  const headerBytes = LUKS2_HEADER_BYTES.find((size) => BigInt(size) === bytes.readBigUInt64BE(8));
  if (headerBytes === undefined) throw damaged(STRUCTURE, offset, 'size');
  const isInPlace = bytes.readBigUInt64BE(256) === BigInt(offset);
  if (!isInPlace || (offset !== 0 && offset !== headerBytes)) {
    throw damaged(STRUCTURE, offset, 'belongs to another place');
  }
  return { offset, headerBytes, sequence: bytes.readBigUInt64BE(16) };
}

/**
 * The metadata of a header that was read whole: JSON up to the first zero. Fails with
 * `file-system-damaged` when the checksum is wrong.
 */
export function metadataOf(bytes: Buffer, { offset }: BinaryHeader): Buffer {
  const name = bytes.toString('latin1', 72, 104).split('\0', 1)[0]!;
  const { name: algorithm, digestBytes } = parseHash(name);
  const checksum = createHash(algorithm)
    .update(bytes.subarray(0, CHECKSUM_OFFSET))
    .update(Buffer.alloc(CHECKSUM_BYTES))
    .update(bytes.subarray(CHECKSUM_OFFSET + CHECKSUM_BYTES))
    .digest();
  const stored = bytes.subarray(CHECKSUM_OFFSET, CHECKSUM_OFFSET + digestBytes);
  if (!checksum.equals(stored)) throw damaged(STRUCTURE, offset, 'checksum');
  const area = bytes.subarray(LUKS2_BINARY_BYTES);
  const end = area.indexOf(0);
  return end < 0 ? area : area.subarray(0, end);
}
