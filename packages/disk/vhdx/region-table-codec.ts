/**
 * The region table: where the BAT and the metadata are in the file ([MS-VHDX] 2.2.3). There are two
 * copies of it.
 */
import { checksumOf } from './checksum.ts';
import { damaged, type Place, unsupported, within } from './damage.ts';
import { decodeGuid, encodeGuid } from '../guid-codec.ts';
import { readUint64, writeUint64 } from './integer-codec.ts';
import { ALIGNMENT_BYTES, FILE_BYTES_MAX, HEADER_SECTION_BYTES } from './sizes.ts';

export const REGION_TABLE_BYTES = 64 * 1024;
export const REGION_TABLE_OFFSETS = [192 * 1024, 256 * 1024] as const;

const SIGNATURE = 'regi';
const CHECKSUM_OFFSET = 4;
const HEADER_BYTES = 16;
const ENTRY_BYTES = 32;
const ENTRY_COUNT_MAX = 2047;
const REQUIRED = 1;
const BAT_GUID = '2dc27766-f623-4200-9d64-115e9bfd4a08';
const METADATA_GUID = '8b7ca206-4790-4b9a-b8fe-575f050f886e';

/** A part of the file, in bytes. */
export interface Region {
  readonly structure: string;
  readonly offset: number;
  readonly length: number;
}

export interface Regions {
  readonly bat: Region;
  readonly metadata: Region;
  /** All of the table, those that are not known and not required too. */
  readonly all: readonly Region[];
}

/** True when signature and checksum are right. */
export function isRegionTable(bytes: Buffer): boolean {
  return (
    bytes.toString('latin1', 0, 4) === SIGNATURE &&
    bytes.readUInt32LE(CHECKSUM_OFFSET) === checksumOf(bytes, CHECKSUM_OFFSET)
  );
}

/** Fails with `image-damaged`, or with `image-unsupported` for required regions of unknown use. */
export function decodeRegionTable(bytes: Buffer, place: Place): Regions {
  const count = bytes.readUInt32LE(8);
  if (count > ENTRY_COUNT_MAX) throw damaged(place, `${count} regions`);
  const regions = new Map<string, Region>();
  for (let index = 0; index < count; index++) {
    const start = HEADER_BYTES + index * ENTRY_BYTES;
    const entryPlace = { ...within(place, start), structure: `region ${index}` };
    const guid = decodeGuid(bytes, start);
    if (regions.has(guid)) throw damaged(entryPlace, `there are two regions ${guid}`);
    regions.set(guid, decodeEntry(bytes.subarray(start, start + ENTRY_BYTES), guid, entryPlace));
  }
  const bat = regions.get(BAT_GUID);
  const metadata = regions.get(METADATA_GUID);
  if (!bat || !metadata) throw damaged(place, `there is no ${bat ? 'metadata' : 'BAT'} region`);
  return { bat, metadata, all: [...regions.values()] };
}

export function encodeRegionTable({ bat, metadata }: Pick<Regions, 'bat' | 'metadata'>): Buffer {
  const bytes = Buffer.alloc(REGION_TABLE_BYTES);
  bytes.write(SIGNATURE, 'latin1');
  bytes.writeUInt32LE(2, 8);
  encodeEntry(bat, BAT_GUID).copy(bytes, HEADER_BYTES);
  encodeEntry(metadata, METADATA_GUID).copy(bytes, HEADER_BYTES + ENTRY_BYTES);
  bytes.writeUInt32LE(checksumOf(bytes, CHECKSUM_OFFSET), CHECKSUM_OFFSET);
  return bytes;
}

function decodeEntry(bytes: Buffer, guid: string, place: Place): Region {
  const offset = readUint64(bytes, 16);
  const length = bytes.readUInt32LE(24);
  const structure = nameOf(guid);
  if ((bytes.readUInt32LE(28) & REQUIRED) !== 0 && structure === undefined) {
    throw unsupported(place, `the required region ${guid}`);
  }
  if (offset % ALIGNMENT_BYTES !== 0 || length % ALIGNMENT_BYTES !== 0) {
    throw damaged(place, `${length} bytes at ${offset} are no multiples of 1 MiB`);
  }
  if (offset < HEADER_SECTION_BYTES || offset > FILE_BYTES_MAX || length === 0) {
    throw damaged(place, `${length} bytes at ${offset}`);
  }
  return { structure: structure ?? `region ${guid}`, offset, length };
}

function encodeEntry({ offset, length }: Region, guid: string): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES);
  encodeGuid(guid).copy(bytes);
  writeUint64(bytes, offset, 16);
  bytes.writeUInt32LE(length, 24);
  bytes.writeUInt32LE(REQUIRED, 28);
  return bytes;
}

function nameOf(guid: string): string | undefined {
  if (guid === BAT_GUID) return 'BAT';
  return guid === METADATA_GUID ? 'metadata' : undefined;
}
