/** The header of dynamic and differencing images ("Dynamic Disk Header Format"). */
import { checksumOf } from './checksum.ts';
import { type Place, damaged, unsupported } from './damage.ts';
import { timeOf, timeStampOf } from './footer-codec.ts';
import { isBlockSize, isPowerOfTwo } from './sizes.ts';

export const HEADER_BYTES = 1024;
const LOCATOR_COUNT = 8;
const LOCATOR_BYTES = 24;
const LOCATORS_OFFSET = 576;
const NAME_OFFSET = 64;
const NAME_BYTES = 512;
const CHECKSUM_OFFSET = 36;
const COOKIE = 'cxsparse';
const VERSION = 0x0001_0000;
/** The specification says 32 bits of ones, but all writers set 64. */
const NO_NEXT_HEADER = 0xffff_ffff_ffff_ffffn;

/** Where a path to the parent is stored in the file ("Parent Locator Entries"). */
export interface ParentLocator {
  /** `W2ru`: relative to the child; `W2ku`: absolute. Others are of no use here. */
  readonly platform: string;
  readonly offset: number;
  readonly length: number;
  /** What is reserved for it. Not read: some writers count bytes here, and some sectors. */
  readonly sectorCount: number;
}

export interface ParentLink {
  readonly uniqueId: Buffer;
  /** When the parent file was modified last, as the writer of the child saw it. */
  readonly modifiedAtMs: number;
  readonly name: string;
  readonly locators: readonly ParentLocator[];
}

export interface DynamicHeader {
  readonly tableOffset: number;
  readonly tableEntryCount: number;
  readonly blockSizeBytes: number;
  /** Of a differencing image; what a dynamic one holds here is without meaning. */
  readonly parent: ParentLink;
}

/** Takes 1024 bytes. Fails with `image-damaged` or `image-unsupported`. */
export function decodeHeader(bytes: Buffer, place: Place): DynamicHeader {
  if (bytes.toString('latin1', 0, 8) !== COOKIE) throw damaged(place, 'no cookie');
  const stored = bytes.readUInt32BE(CHECKSUM_OFFSET);
  if (stored !== checksumOf(bytes, CHECKSUM_OFFSET)) throw damaged(place, 'wrong checksum');
  const version = bytes.readUInt32BE(24);
  if (version >>> 16 !== VERSION >>> 16) throw unsupported(place, `version ${version >>> 16}`);
  const blockSizeBytes = bytes.readUInt32BE(32);
  if (!isPowerOfTwo(blockSizeBytes)) throw damaged(place, `blocks of ${blockSizeBytes} bytes`);
  if (!isBlockSize(blockSizeBytes)) throw unsupported(place, `blocks of ${blockSizeBytes} bytes`);
  return {
    tableOffset: Number(bytes.readBigUInt64BE(16)),
    tableEntryCount: bytes.readUInt32BE(28),
    blockSizeBytes,
    parent: {
      uniqueId: Buffer.from(bytes.subarray(40, 56)),
      modifiedAtMs: timeOf(bytes.readUInt32BE(56)),
      name: decodeName(bytes.subarray(NAME_OFFSET, NAME_OFFSET + NAME_BYTES)),
      locators: decodeLocators(bytes),
    },
  };
}

export function encodeHeader(header: Omit<DynamicHeader, 'parent'>, parent?: ParentLink): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write(COOKIE, 0, 'latin1');
  bytes.writeBigUInt64BE(NO_NEXT_HEADER, 8);
  bytes.writeBigUInt64BE(BigInt(header.tableOffset), 16);
  bytes.writeUInt32BE(VERSION, 24);
  bytes.writeUInt32BE(header.tableEntryCount, 28);
  bytes.writeUInt32BE(header.blockSizeBytes, 32);
  if (parent) encodeParent(bytes, parent);
  bytes.writeUInt32BE(checksumOf(bytes, CHECKSUM_OFFSET), CHECKSUM_OFFSET);
  return bytes;
}

function encodeParent(bytes: Buffer, { uniqueId, modifiedAtMs, name, locators }: ParentLink): void {
  uniqueId.copy(bytes, 40, 0, 16);
  bytes.writeUInt32BE(timeStampOf(modifiedAtMs), 56);
  // One unit less than there is place for, so that the name ends with a zero.
  Buffer.from(name, 'utf16le')
    .swap16()
    .copy(bytes, NAME_OFFSET, 0, NAME_BYTES - 2);
  for (const [index, locator] of locators.slice(0, LOCATOR_COUNT).entries()) {
    const at = LOCATORS_OFFSET + index * LOCATOR_BYTES;
    bytes.write(locator.platform, at, 4, 'latin1');
    bytes.writeUInt32BE(locator.sectorCount, at + 4);
    bytes.writeUInt32BE(locator.length, at + 8);
    bytes.writeBigUInt64BE(BigInt(locator.offset), at + 16);
  }
}

function decodeLocators(bytes: Buffer): ParentLocator[] {
  return Array.from({ length: LOCATOR_COUNT }, (_, index) => {
    const at = LOCATORS_OFFSET + index * LOCATOR_BYTES;
    return {
      platform: bytes.toString('latin1', at, at + 4),
      sectorCount: bytes.readUInt32BE(at + 4),
      length: bytes.readUInt32BE(at + 8),
      offset: Number(bytes.readBigUInt64BE(at + 16)),
    };
  }).filter(({ length }) => length > 0);
}

/** Unlike the paths of locators, the name is big-endian. */
function decodeName(bytes: Buffer): string {
  return untilZero(Buffer.from(bytes).swap16().toString('utf16le'));
}

function untilZero(text: string): string {
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}
