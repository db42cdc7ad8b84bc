/**
 * The binary structures of an LVM2 physical volume: its label, the areas that the label names, and
 * the header of a metadata area, a ring that holds the text (lvm2, `lib/format_text/layout.h`).
 */
import { crc32 } from 'node:zlib';
import { CofferError } from '@coffer/base';
import type { ByteRange } from '@coffer/disk/disk.ts';

export interface LvmLabel {
  /** 32 characters, as the metadata has them without its dashes. */
  readonly physicalVolumeId: string;
  readonly metadataAreas: readonly ByteRange[];
}

/** Where the text lies in its area; it may go on at the start of the ring. */
export interface LvmTextPlace {
  readonly pieces: readonly ByteRange[];
  readonly checksum: number;
}

export const LVM_SECTOR_BYTES = 512;
/** The label is in one of the first four sectors. */
export const LVM_LABEL_SECTORS = 4;

const AREA_COUNT_MAX = 32;
const AREA_MAGIC = Buffer.from(' LVM2 x[5A%r0N*>', 'latin1');
const TEXT_BYTES_MAX = 4 * 1024 * 1024;
const CRC_SEED = 0xf597a6cf;

/** LVM2 begins with a seed of its own, and does not invert the result. */
export function lvmChecksum(...parts: readonly Uint8Array[]): number {
  return ~parts.reduce((crc, part) => crc32(part, crc), ~CRC_SEED >>> 0) >>> 0;
}

/** Undefined when the sector holds no label. */
export function parseLvmLabel(sector: Buffer): LvmLabel | undefined {
  if (sector.toString('latin1', 0, 8) !== 'LABELONE') return undefined;
  if (sector.toString('latin1', 24, 32) !== 'LVM2 001') return undefined;
  if (sector.readUInt32LE(16) !== lvmChecksum(sector.subarray(20))) {
    throw new CofferError('file-system-damaged', { structure: 'lvm2 label' });
  }
  const start = sector.readUInt32LE(20);
  if (start > LVM_SECTOR_BYTES / 2) {
    throw new CofferError('file-system-damaged', { structure: 'lvm2 label', start });
  }
  const data = parseAreas(sector, start + 40);
  const metadata = parseAreas(sector, data.end);
  return {
    physicalVolumeId: sector.toString('latin1', start, start + 32),
    metadataAreas: metadata.areas,
  };
}

/** A list of areas ends with one of zeroes. */
function parseAreas(sector: Buffer, start: number): { areas: ByteRange[]; end: number } {
  const areas: ByteRange[] = [];
  for (let offset = start; offset + 16 <= sector.length; offset += 16) {
    const area = parseRange(sector, offset);
    if (area.offset === 0) return { areas, end: offset + 16 };
    areas.push(area);
    if (areas.length > AREA_COUNT_MAX) break;
  }
  throw new CofferError('file-system-damaged', { structure: 'lvm2 areas', offset: start });
}

/** Undefined when the area holds no text. `area` is where the header was found. */
export function parseLvmAreaHeader(header: Buffer, area: ByteRange): LvmTextPlace | undefined {
  const isHeader = header.subarray(4, 20).equals(AREA_MAGIC) && header.readUInt32LE(20) === 1;
  const isWhole = header.readUInt32LE(0) === lvmChecksum(header.subarray(4));
  const size = Number(header.readBigUInt64LE(32));
  if (!isHeader || !isWhole || size !== area.length || size <= LVM_SECTOR_BYTES) {
    throw new CofferError('file-system-damaged', {
      structure: 'lvm2 metadata area',
      offset: area.offset,
    });
  }
  const text = parseRange(header, 40);
  const isIgnored = (header.readUInt32LE(60) & 1) !== 0;
  if (isIgnored || text.offset === 0 || text.length === 0) return undefined;
  return { pieces: ringPieces(text, area), checksum: header.readUInt32LE(56) };
}

function ringPieces(text: ByteRange, area: ByteRange): ByteRange[] {
  const isInside = text.offset >= LVM_SECTOR_BYTES && text.offset < area.length;
  const ringBytes = area.length - LVM_SECTOR_BYTES;
  if (!isInside || text.length > Math.min(ringBytes, TEXT_BYTES_MAX)) {
    const details = { structure: 'lvm2 metadata area', area: area.offset, ...text };
    throw new CofferError('file-system-damaged', details);
  }
  const first = Math.min(text.length, area.length - text.offset);
  const pieces = [{ offset: area.offset + text.offset, length: first }];
  if (first < text.length) {
    pieces.push({ offset: area.offset + LVM_SECTOR_BYTES, length: text.length - first });
  }
  return pieces;
}

function parseRange(bytes: Buffer, offset: number): ByteRange {
  return {
    offset: Number(bytes.readBigUInt64LE(offset)),
    length: Number(bytes.readBigUInt64LE(offset + 8)),
  };
}
