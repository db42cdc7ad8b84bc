/** The partitions of a GUID partition table, of its backup where the first copy is damaged. */
import type { Disk } from '@coffer/disk/disk.ts';
import { GPT_HEADER_BYTES, type GptHeader, parseGptEntries, parseGptHeader } from './gpt-codec.ts';
import type { Partition } from './partition.ts';
import { SECTOR_BYTES } from './sector-bytes.ts';

/**
 * Undefined when no copy of a table is whole. The first copy counts where it is whole, whatever the
 * backup says. `protectedSectors`, of the master boot record, tells how large the sectors are where
 * tables of several sizes are on the disk.
 */
export async function gptPartitions(
  disk: Disk,
  protectedSectors: number | undefined,
): Promise<Partition[] | undefined> {
  const sizes = sectorSizes(disk, protectedSectors);
  // A backup of sectors of another size may be left from an older table.
  for (const sectorBytes of sizes) {
    const found = await partitionsAt(disk, 1, sectorBytes);
    if (found) return found;
  }
  for (const sectorBytes of sizes) {
    const first = await readHeader(disk, 1, sectorBytes);
    const lastSector = Math.floor(disk.sizeBytes / sectorBytes) - 1;
    for (const sector of [...(first ? [first.alternateSector] : []), lastSector]) {
      const found = await partitionsAt(disk, sector, sectorBytes);
      if (found) return found;
    }
  }
  return undefined;
}

/** The size first with which the protective entry covers the disk, as it should. */
function sectorSizes(disk: Disk, protectedSectors: number | undefined): number[] {
  const covers = (sectorBytes: number) =>
    Math.floor(disk.sizeBytes / sectorBytes) - 1 === protectedSectors;
  return [...SECTOR_BYTES.filter(covers), ...SECTOR_BYTES.filter((size) => !covers(size))];
}

async function partitionsAt(
  disk: Disk,
  sector: number,
  sectorBytes: number,
): Promise<Partition[] | undefined> {
  const header = await readHeader(disk, sector, sectorBytes);
  return header && (await readEntries(disk, header, sectorBytes));
}

async function readHeader(
  disk: Disk,
  sector: number,
  sectorBytes: number,
): Promise<GptHeader | undefined> {
  const bytes = await readInside(disk, sector * sectorBytes, GPT_HEADER_BYTES);
  return bytes && parseGptHeader(bytes, sector);
}

async function readEntries(
  disk: Disk,
  header: GptHeader,
  sectorBytes: number,
): Promise<Partition[] | undefined> {
  const length = header.entryCount * header.entryBytes;
  const bytes = await readInside(disk, header.entriesSector * sectorBytes, length);
  return bytes && parseGptEntries(header, bytes, sectorBytes);
}

async function readInside(disk: Disk, offset: number, length: number): Promise<Buffer | undefined> {
  if (!Number.isSafeInteger(offset) || offset <= 0 || offset + length > disk.sizeBytes) {
    return undefined;
  }
  const bytes = Buffer.alloc(length);
  await disk.read(offset, bytes);
  return bytes;
}
