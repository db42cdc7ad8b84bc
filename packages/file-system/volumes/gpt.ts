/** The partitions of a GUID partition table, of its backup where the first copy is damaged. */
import type { Disk } from '@coffer/disk/disk.ts';
import { GPT_HEADER_BYTES, type GptHeader, parseGptEntries, parseGptHeader } from './gpt-codec.ts';
import type { Partition } from './partition.ts';

/** Nothing on the disk says how large its sectors are. */
const SECTOR_BYTES = [512, 4096];

/** Undefined when no copy of a table is whole. */
export async function gptPartitions(disk: Disk): Promise<Partition[] | undefined> {
  for (const sectorBytes of SECTOR_BYTES) {
    const lastSector = Math.floor(disk.sizeBytes / sectorBytes) - 1;
    const first = await readHeader(disk, 1, sectorBytes);
    const sectors = [1, ...(first ? [first.alternateSector] : []), lastSector];
    for (const sector of sectors) {
      const header = await readHeader(disk, sector, sectorBytes);
      const found = header && (await readEntries(disk, header, sectorBytes));
      if (found) return found;
    }
  }
  return undefined;
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
