/** A GUID partition table: its header and its entries (UEFI 2.10, 5.3). */
import { crc32 } from 'node:zlib';
import { decodeGuid } from '@coffer/disk/guid-codec.ts';
import type { Partition } from './partition.ts';

export interface GptHeader {
  /** Where the other copy of the header is. */
  readonly alternateSector: number;
  readonly entriesSector: number;
  readonly entryCount: number;
  readonly entryBytes: number;
  readonly entriesCrc: number;
}

export const GPT_HEADER_BYTES = 512;
const SIGNATURE = 'EFI PART';
const HEADER_BYTES_MIN = 92;
const ENTRY_BYTES_MIN = 128;
/** Tables have 16 KiB; more than this is not read. */
const TABLE_BYTES_MAX = 1024 * 1024;

/** Undefined when it is no header, or one that is damaged. `sector` is where it was found. */
export function parseGptHeader(bytes: Buffer, sector: number): GptHeader | undefined {
  if (bytes.toString('latin1', 0, 8) !== SIGNATURE) return undefined;
  const headerBytes = bytes.readUInt32LE(12);
  if (headerBytes < HEADER_BYTES_MIN || headerBytes > bytes.length) return undefined;
  const covered = Buffer.from(bytes.subarray(0, headerBytes));
  covered.writeUInt32LE(0, 16);
  if (crc32(covered) !== bytes.readUInt32LE(16)) return undefined;
  if (Number(bytes.readBigUInt64LE(24)) !== sector) return undefined;
  const header = {
    alternateSector: Number(bytes.readBigUInt64LE(32)),
    entriesSector: Number(bytes.readBigUInt64LE(72)),
    entryCount: bytes.readUInt32LE(80),
    entryBytes: bytes.readUInt32LE(84),
    entriesCrc: bytes.readUInt32LE(88),
  };
  return isSane(header) ? header : undefined;
}

function isSane({ entryCount, entryBytes }: GptHeader): boolean {
  return (
    entryBytes >= ENTRY_BYTES_MIN &&
    entryBytes % 8 === 0 &&
    entryCount * entryBytes <= TABLE_BYTES_MAX
  );
}

/** The partitions that the entries name; undefined when the entries are damaged. */
export function parseGptEntries(
  header: GptHeader,
  bytes: Buffer,
  sectorBytes: number,
): Partition[] | undefined {
  if (crc32(bytes) !== header.entriesCrc) return undefined;
  const found: Partition[] = [];
  for (let index = 0; index < header.entryCount; index++) {
    const entry = bytes.subarray(index * header.entryBytes, (index + 1) * header.entryBytes);
    const first = entry.readBigUInt64LE(32);
    const last = entry.readBigUInt64LE(40);
    const isUsed = !entry.subarray(0, 16).every((byte) => byte === 0);
    if (!isUsed || first > last || last >= 2n ** 44n) continue;
    const length = (Number(last - first) + 1) * sectorBytes;
    const label = entry.toString('utf16le', 56, 128).split('\0', 1)[0]!;
    found.push({
      number: index + 1,
      offset: Number(first) * sectorBytes,
      length,
      type: decodeGuid(entry, 0),
      label: label === '' ? undefined : label,
    });
  }
  return found;
}
