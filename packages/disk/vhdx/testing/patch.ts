/** Images whose structures were changed, and have a right checksum nevertheless. */
import { checksumOf } from '../checksum.ts';
import { HEADER_BYTES, HEADER_OFFSETS } from '../header-codec.ts';
import { METADATA_TABLE_BYTES } from '../metadata-table-codec.ts';
import { REGION_TABLE_BYTES, REGION_TABLE_OFFSETS } from '../region-table-codec.ts';

const CHECKSUM_OFFSET = 4;

/** Where `createVhdx` puts the structures. */
export const LOG_OFFSET = 1024 * 1024;
export const METADATA_OFFSET = 2 * 1024 * 1024;
export const ITEMS_OFFSET = METADATA_OFFSET + METADATA_TABLE_BYTES;
export const BAT_OFFSET = 3 * 1024 * 1024;

/** Changes both headers alike. */
export function patchHeaders(image: Buffer, patch: (header: Buffer) => void): void {
  for (const offset of HEADER_OFFSETS) patchAt(image, offset, HEADER_BYTES, patch);
}

/** Changes both region tables alike. */
export function patchRegionTables(image: Buffer, patch: (table: Buffer) => void): void {
  for (const offset of REGION_TABLE_OFFSETS) patchAt(image, offset, REGION_TABLE_BYTES, patch);
}

function patchAt(
  image: Buffer,
  offset: number,
  length: number,
  patch: (structure: Buffer) => void,
): void {
  const structure = image.subarray(offset, offset + length);
  patch(structure);
  seal(structure);
}

/** Makes the checksum of a structure right. */
export function seal(structure: Buffer): void {
  structure.writeUInt32LE(checksumOf(structure, CHECKSUM_OFFSET), CHECKSUM_OFFSET);
}
