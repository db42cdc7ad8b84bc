/** The partitions of a master boot record, with the logical ones in its extended partition. */
import { CofferError, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { isExtended, MBR_BYTES, type MbrEntry, parseMbr } from './mbr-codec.ts';
import type { Partition, PartitionTable } from './partition.ts';

const SECTOR_BYTES = 512;
/** Longer chains of logical partitions are damage: Linux stops at 256 partitions. */
const LOGICAL_COUNT_MAX = 256;

/** What is found before a chain of logical partitions turns out to be damaged is in the table. */
export async function mbrPartitions(
  disk: Disk,
  entries: readonly MbrEntry[],
): Promise<PartitionTable> {
  const partitions = entries.filter((entry) => !isExtended(entry)).map((entry) => primary(entry));
  try {
    const extended = entries.find(isExtended);
    if (extended) {
      for await (const one of logicalPartitions(disk, extended.startSector)) partitions.push(one);
    }
    return { partitions, problem: undefined };
  } catch (error) {
    if (!isCofferError(error, 'file-system-damaged')) throw error;
    return { partitions, problem: error };
  }
}

function primary(entry: MbrEntry): Partition {
  return partition(entry.index + 1, entry.startSector, entry);
}

/** Each link names one partition, relative to itself, and the next link, relative to the first. */
async function* logicalPartitions(disk: Disk, firstSector: number): AsyncIterable<Partition> {
  let number = 5;
  const seen = new Set<number>();
  for (let sector: number | undefined = firstSector; sector !== undefined;) {
    if (seen.has(sector) || seen.size >= LOGICAL_COUNT_MAX) {
      const offset = sector * SECTOR_BYTES;
      throw new CofferError('file-system-damaged', { structure: 'extended partition', offset });
    }
    seen.add(sector);
    const entries = await readLink(disk, sector);
    const own = entries.find((entry) => !isExtended(entry));
    if (own) yield partition(number++, sector + own.startSector, own);
    const next = entries.find(isExtended);
    sector = next === undefined ? undefined : firstSector + next.startSector;
  }
}

async function readLink(disk: Disk, sector: number): Promise<MbrEntry[]> {
  const offset = sector * SECTOR_BYTES;
  const bytes = Buffer.alloc(MBR_BYTES);
  if (offset + MBR_BYTES <= disk.sizeBytes) {
    await disk.read(offset, bytes);
    const entries = parseMbr(bytes);
    if (entries) return entries;
  }
  throw new CofferError('file-system-damaged', { structure: 'extended partition', offset });
}

function partition(
  number: number,
  startSector: number,
  { sectorCount, type }: MbrEntry,
): Partition {
  return {
    number,
    offset: startSector * SECTOR_BYTES,
    length: sectorCount * SECTOR_BYTES,
    type: type.toString(16).padStart(2, '0'),
    label: undefined,
  };
}
