/**
 * The file type identifier and the headers ([MS-VHDX] 2.2.1, 2.2.2). There are two headers, of which
 * the one with the greater sequence number is current; the other one is written next.
 */
import { checksumOf } from './checksum.ts';
import { damaged, type Place, unsupported, within } from './damage.ts';
import { decodeGuid, encodeGuid, ZERO_GUID } from '../guid-codec.ts';
import { readUint64, writeUint64 } from './integer-codec.ts';
import { ALIGNMENT_BYTES, FILE_BYTES_MAX, HEADER_SECTION_BYTES, MIB } from './sizes.ts';

export const IDENTIFIER_BYTES = 520;
export const HEADER_BYTES = 4096;
export const HEADER_OFFSETS = [64 * 1024, 128 * 1024] as const;

const FILE_SIGNATURE = 'vhdxfile';
const SIGNATURE = 'head';
const CHECKSUM_OFFSET = 4;
const VERSION = 1;
const LOG_VERSION = 0;
const CREATOR = 'Coffer';

/** Real logs have 1 MiB. It is held in memory while it is replayed. */
const LOG_BYTES_MAX = 32 * MIB;

export interface Header {
  readonly sequenceNumber: bigint;
  /** Changes before the file is changed in any way. */
  readonly fileWriteGuid: string;
  /** Changes before the content of the disk is changed. Children know their parent by it. */
  readonly dataWriteGuid: string;
  /** The log entries that count; zero when there is nothing to replay. */
  readonly logGuid: string;
  readonly logVersion: number;
  readonly version: number;
  readonly logOffset: number;
  readonly logLength: number;
}

export interface CurrentHeader {
  readonly header: Header;
  /** Which of the two it is. */
  readonly slot: 0 | 1;
}

/** Fails with `image-damaged` unless the bytes begin a VHDX file. */
export function checkIdentifier(bytes: Buffer, place: Place): void {
  if (bytes.toString('latin1', 0, FILE_SIGNATURE.length) !== FILE_SIGNATURE) {
    throw damaged(place, `the signature is not ${FILE_SIGNATURE}`);
  }
}

export function encodeIdentifier(): Buffer {
  const bytes = Buffer.alloc(IDENTIFIER_BYTES);
  bytes.write(FILE_SIGNATURE, 'latin1');
  bytes.write(CREATOR, FILE_SIGNATURE.length, 'utf16le');
  return bytes;
}

/** Undefined when signature or checksum are wrong, as after a torn write. */
export function decodeHeader(bytes: Buffer): Header | undefined {
  if (bytes.toString('latin1', 0, 4) !== SIGNATURE) return undefined;
  if (bytes.readUInt32LE(CHECKSUM_OFFSET) !== checksumOf(bytes, CHECKSUM_OFFSET)) return undefined;
  return {
    sequenceNumber: bytes.readBigUInt64LE(8),
    fileWriteGuid: decodeGuid(bytes, 16),
    dataWriteGuid: decodeGuid(bytes, 32),
    logGuid: decodeGuid(bytes, 48),
    logVersion: bytes.readUInt16LE(64),
    version: bytes.readUInt16LE(66),
    logLength: bytes.readUInt32LE(68),
    logOffset: readUint64(bytes, 72),
  };
}

export function encodeHeader(header: Header): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write(SIGNATURE, 'latin1');
  bytes.writeBigUInt64LE(header.sequenceNumber, 8);
  encodeGuid(header.fileWriteGuid).copy(bytes, 16);
  encodeGuid(header.dataWriteGuid).copy(bytes, 32);
  encodeGuid(header.logGuid).copy(bytes, 48);
  bytes.writeUInt16LE(header.logVersion, 64);
  bytes.writeUInt16LE(header.version, 66);
  bytes.writeUInt32LE(header.logLength, 68);
  writeUint64(bytes, header.logOffset, 72);
  bytes.writeUInt32LE(checksumOf(bytes, CHECKSUM_OFFSET), CHECKSUM_OFFSET);
  return bytes;
}

/** The header of a new file without a log to replay. */
export function newHeader(
  fields: Pick<Header, 'fileWriteGuid' | 'dataWriteGuid' | 'logOffset' | 'logLength'>,
): Header {
  return {
    ...fields,
    sequenceNumber: 1n,
    logGuid: ZERO_GUID,
    logVersion: LOG_VERSION,
    version: VERSION,
  };
}

/**
 * Chooses and checks the current header. `place` is that of the first one. Fails with `image-damaged`
 * or `image-unsupported`.
 */
export function currentHeader(
  first: Header | undefined,
  second: Header | undefined,
  place: Place,
): CurrentHeader {
  const slot = currentSlot(first, second);
  const header = slot === 0 ? first : second;
  if (slot === undefined || !header) throw damaged(place, 'no header is valid and current');
  checkHeader(header, within(place, HEADER_OFFSETS[slot] - HEADER_OFFSETS[0]));
  return { header, slot };
}

function currentSlot(first: Header | undefined, second: Header | undefined): 0 | 1 | undefined {
  if (!first || !second) return first ? 0 : 1;
  if (first.sequenceNumber !== second.sequenceNumber) {
    return first.sequenceNumber > second.sequenceNumber ? 0 : 1;
  }
  // Disk2vhd writes the same header twice.
  return encodeHeader(first).equals(encodeHeader(second)) ? 0 : undefined;
}

function checkHeader(header: Header, place: Place): void {
  const { version, logVersion, logGuid, logOffset, logLength } = header;
  if (version !== VERSION) throw unsupported(place, `version ${version}`);
  if (logOffset % ALIGNMENT_BYTES !== 0 || logLength % ALIGNMENT_BYTES !== 0) {
    throw damaged(place, 'the log is not at a multiple of 1 MiB');
  }
  if (logLength > 0 && (logOffset < HEADER_SECTION_BYTES || logOffset > FILE_BYTES_MAX)) {
    throw damaged(place, `the log is at ${logOffset}`);
  }
  if (logGuid === ZERO_GUID) return;
  if (logVersion !== LOG_VERSION) throw unsupported(place, `version ${logVersion} of the log`);
  if (logLength === 0) throw damaged(place, 'there is something to replay, but no log');
  if (logLength > LOG_BYTES_MAX) throw unsupported(place, `a log of ${logLength} bytes`);
}
