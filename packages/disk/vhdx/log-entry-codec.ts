/**
 * Log entries: 4 KiB sectors of metadata to write or to zero ([MS-VHDX] 2.3.1). An entry counts only
 * when all of it is as it was written: sequence numbers in each part, and a checksum over all.
 */
import { assert } from '@coffer/base';
import { checksumOf } from './checksum.ts';
import { decodeGuid, encodeGuid } from '../guid-codec.ts';
import { readUint64, writeUint64 } from './integer-codec.ts';
import { FILE_BYTES_MAX, LOG_SECTOR_BYTES } from './sizes.ts';

const SIGNATURE = 'loge';
const ZERO_SIGNATURE = 'zero';
const UPDATE_SIGNATURE = 'desc';
const DATA_SIGNATURE = 'data';
const CHECKSUM_OFFSET = 4;
const HEADER_BYTES = 64;
const DESCRIPTOR_BYTES = 32;
const LEADING_BYTES = 8;
const TRAILING_OFFSET = LOG_SECTOR_BYTES - 4;

/** As many updates as the first sector describes; with their data they take 127 sectors. */
export const ENTRY_UPDATES_MAX = (LOG_SECTOR_BYTES - HEADER_BYTES) / DESCRIPTOR_BYTES;

export interface LogEntryHeader {
  readonly length: number;
  /** Where in the log the oldest entry begins that is replayed with this one. */
  readonly tail: number;
  readonly sequenceNumber: bigint;
  readonly logGuid: string;
  readonly descriptorCount: number;
  /** The file is at least that long, or it was cut. */
  readonly flushedFileOffset: number;
  /** The file must become at least that long. */
  readonly lastFileOffset: number;
}

/** A sector as it has to be, or zeroes where there are no bytes. Offset and length are in bytes. */
export interface LogUpdate {
  readonly fileOffset: number;
  readonly length: number;
  readonly bytes: Buffer | undefined;
}

/** The header of an entry; undefined when there is none that could fit into the log. */
export function decodeLogEntryHeader(bytes: Buffer, logLength: number): LogEntryHeader | undefined {
  if (bytes.toString('latin1', 0, 4) !== SIGNATURE) return undefined;
  const header = {
    length: bytes.readUInt32LE(8),
    tail: bytes.readUInt32LE(12),
    sequenceNumber: bytes.readBigUInt64LE(16),
    descriptorCount: bytes.readUInt32LE(24),
    logGuid: decodeGuid(bytes, 32),
    flushedFileOffset: readUint64(bytes, 48),
    lastFileOffset: readUint64(bytes, 56),
  };
  const isPossible =
    isSectors(header.length, logLength) &&
    isSectors(header.tail, logLength - LOG_SECTOR_BYTES) &&
    header.sequenceNumber > 0n &&
    header.length >= descriptorSectors(header.descriptorCount) * LOG_SECTOR_BYTES &&
    header.flushedFileOffset <= FILE_BYTES_MAX &&
    header.lastFileOffset <= FILE_BYTES_MAX;
  return isPossible ? header : undefined;
}

/** True when the whole entry is as it was written. */
export function isLogEntryIntact(bytes: Buffer): boolean {
  return bytes.readUInt32LE(CHECKSUM_OFFSET) === checksumOf(bytes, CHECKSUM_OFFSET);
}

/** What the entry says to write; undefined when its parts do not belong together. */
export function decodeLogUpdates(bytes: Buffer, header: LogEntryHeader): LogUpdate[] | undefined {
  const updates: LogUpdate[] = [];
  let dataOffset = descriptorSectors(header.descriptorCount) * LOG_SECTOR_BYTES;
  for (let index = 0; index < header.descriptorCount; index++) {
    const at = HEADER_BYTES + index * DESCRIPTOR_BYTES;
    const descriptor = bytes.subarray(at, at + DESCRIPTOR_BYTES);
    const data = bytes.subarray(dataOffset, dataOffset + LOG_SECTOR_BYTES);
    const update = decodeUpdate(descriptor, data, header.sequenceNumber);
    if (!update) return undefined;
    if (update.bytes) dataOffset += LOG_SECTOR_BYTES;
    updates.push(update);
  }
  return updates;
}

/** An entry that writes sectors, at most `ENTRY_UPDATES_MAX`. */
export function encodeLogEntry(
  header: Omit<LogEntryHeader, 'length' | 'descriptorCount'>,
  updates: readonly { readonly fileOffset: number; readonly bytes: Buffer }[],
): Buffer {
  assert(updates.length <= ENTRY_UPDATES_MAX, 'all descriptors are in the first sector');
  const entry = Buffer.alloc((1 + updates.length) * LOG_SECTOR_BYTES);
  entry.write(SIGNATURE, 'latin1');
  entry.writeUInt32LE(entry.length, 8);
  entry.writeUInt32LE(header.tail, 12);
  entry.writeBigUInt64LE(header.sequenceNumber, 16);
  entry.writeUInt32LE(updates.length, 24);
  encodeGuid(header.logGuid).copy(entry, 32);
  writeUint64(entry, header.flushedFileOffset, 48);
  writeUint64(entry, header.lastFileOffset, 56);
  for (const [index, { fileOffset, bytes }] of updates.entries()) {
    const descriptor = entry.subarray(HEADER_BYTES + index * DESCRIPTOR_BYTES);
    descriptor.write(UPDATE_SIGNATURE, 'latin1');
    bytes.copy(descriptor, 4, TRAILING_OFFSET);
    bytes.copy(descriptor, 8, 0, LEADING_BYTES);
    writeUint64(descriptor, fileOffset, 16);
    descriptor.writeBigUInt64LE(header.sequenceNumber, 24);
    const data = entry.subarray((1 + index) * LOG_SECTOR_BYTES);
    bytes.copy(data, LEADING_BYTES, LEADING_BYTES, TRAILING_OFFSET);
    data.write(DATA_SIGNATURE, 'latin1');
    data.writeUInt32LE(Number(header.sequenceNumber >> 32n), 4);
    data.writeUInt32LE(Number(header.sequenceNumber & 0xffff_ffffn), TRAILING_OFFSET);
  }
  entry.writeUInt32LE(checksumOf(entry, CHECKSUM_OFFSET), CHECKSUM_OFFSET);
  return entry;
}

function decodeUpdate(
  descriptor: Buffer,
  data: Buffer,
  sequenceNumber: bigint,
): LogUpdate | undefined {
  if (descriptor.length < DESCRIPTOR_BYTES) return undefined;
  if (descriptor.readBigUInt64LE(24) !== sequenceNumber) return undefined;
  const signature = descriptor.toString('latin1', 0, 4);
  const isZero = signature === ZERO_SIGNATURE;
  if (!isZero && signature !== UPDATE_SIGNATURE) return undefined;
  const fileOffset = readUint64(descriptor, 16);
  const length = isZero ? readUint64(descriptor, 8) : LOG_SECTOR_BYTES;
  if (fileOffset % LOG_SECTOR_BYTES !== 0 || length % LOG_SECTOR_BYTES !== 0) return undefined;
  if (fileOffset + length > FILE_BYTES_MAX) return undefined;
  if (isZero) return { fileOffset, length, bytes: undefined };
  const bytes = restored(descriptor, data, sequenceNumber);
  return bytes && { fileOffset, length, bytes };
}

/** The sector, with the bytes that made place for the signature and the sequence number. */
function restored(descriptor: Buffer, data: Buffer, sequenceNumber: bigint): Buffer | undefined {
  if (data.length < LOG_SECTOR_BYTES) return undefined;
  if (data.toString('latin1', 0, 4) !== DATA_SIGNATURE) return undefined;
  const high = BigInt(data.readUInt32LE(4));
  const low = BigInt(data.readUInt32LE(TRAILING_OFFSET));
  if (((high << 32n) | low) !== sequenceNumber) return undefined;
  const bytes = Buffer.from(data);
  descriptor.copy(bytes, 0, 8, 8 + LEADING_BYTES);
  descriptor.copy(bytes, TRAILING_OFFSET, 4, 8);
  return bytes;
}

function descriptorSectors(count: number): number {
  return Math.ceil((HEADER_BYTES + count * DESCRIPTOR_BYTES) / LOG_SECTOR_BYTES);
}

function isSectors(length: number, lengthMax: number): boolean {
  return length % LOG_SECTOR_BYTES === 0 && length <= lengthMax;
}
