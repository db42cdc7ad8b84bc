/** The partitions of a master boot record, with the logical ones in its extended partition. */
import { CofferError, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { detectFileSystem } from './detect.ts';
import { isExtended, MBR_BYTES, type MbrEntry, parseMbr } from './mbr-codec.ts';
import type { Partition, PartitionTable } from './partition.ts';
import { rangeDisk } from './range-disk.ts';
import { SECTOR_BYTES } from './sector-bytes.ts';

/** Longer chains of logical partitions are damage: Linux stops at 256 partitions. */
const LOGICAL_COUNT_MAX = 256;

/**
 * The partitions in sectors of the first size with which one of them is something that is known; in
 * sectors of 512 bytes where there is none. What is found before a chain of logical partitions turns
 * out to be damaged is in the table.
 */
export async function mbrPartitions(
  disk: Disk,
  entries: readonly MbrEntry[],
): Promise<PartitionTable> {
  let usual: PartitionTable | undefined;
  for (const sectorBytes of SECTOR_BYTES) {
    const table = await partitionsInSectorsOf(sectorBytes, disk, entries);
    if (await leadsSomewhere(disk, table)) return table;
    usual ??= table;
  }
  return usual ?? { partitions: [], problem: undefined };
}

async function partitionsInSectorsOf(
  sectorBytes: number,
  disk: Disk,
  entries: readonly MbrEntry[],
): Promise<PartitionTable> {
  const partitions = entries
    .filter((entry) => !isExtended(entry))
    .map((entry) => partition(entry.index + 1, 0, entry, sectorBytes));
  try {
    const extended = entries.find(isExtended);
    const chain = extended && logicalPartitions(disk, extended, sectorBytes);
    for await (const one of chain ?? []) partitions.push(one);
    return { partitions, problem: undefined };
  } catch (error) {
    if (!isCofferError(error, 'file-system-damaged')) throw error;
    return { partitions, problem: error };
  }
}

/** A chain of logical partitions that is whole is something, too. */
async function leadsSomewhere(
  disk: Disk,
  { partitions, problem }: PartitionTable,
): Promise<boolean> {
  if (!problem && partitions.some(({ number }) => number >= FIRST_LOGICAL)) return true;
  for (const { offset, length } of partitions) {
    if (offset + length > disk.sizeBytes) continue;
    const { kind } = await detectFileSystem(rangeDisk(disk, { offset, length }));
    if (kind !== 'unknown') return true;
  }
  return false;
}

const FIRST_LOGICAL = 5;

/** A link of the chain, as the link before it says; sectors. */
interface ChainLink {
  readonly startSector: number;
  readonly sectorCount: number;
}

/** Each link names partitions, relative to itself, and the next link, relative to the first. */
async function* logicalPartitions(
  disk: Disk,
  whole: ChainLink,
  sectorBytes: number,
): AsyncIterable<Partition> {
  let number = FIRST_LOGICAL;
  const seen = new Set<number>();
  for (let link: ChainLink | undefined = whole; link !== undefined;) {
    const { startSector } = link;
    const offset = startSector * sectorBytes;
    if (seen.has(startSector) || seen.size >= LOGICAL_COUNT_MAX) throw damagedChain(offset);
    seen.add(startSector);
    const entries = await readLink(disk, offset);
    for (const entry of entries) {
      if (isExtended(entry) || !isOwn(entry, link, whole)) continue;
      yield partition(number++, startSector, entry, sectorBytes);
    }
    const next = entries.find(isExtended);
    link = next && { ...next, startSector: whole.startSector + next.startSector };
  }
}

/** The third and the fourth entry can be left from something else: they have to fit. */
function isOwn(entry: MbrEntry, link: ChainLink, whole: ChainLink): boolean {
  if (entry.index < 2) return true;
  const end = entry.startSector + entry.sectorCount;
  const wholeEnd = whole.startSector + whole.sectorCount;
  return end <= link.sectorCount && link.startSector + end <= wholeEnd;
}

async function readLink(disk: Disk, offset: number): Promise<MbrEntry[]> {
  const bytes = Buffer.alloc(MBR_BYTES);
  if (offset + MBR_BYTES <= disk.sizeBytes) {
    await disk.read(offset, bytes);
    const entries = parseMbr(bytes);
    if (entries) return entries;
  }
  throw damagedChain(offset);
}

function damagedChain(offset: number): CofferError {
  return new CofferError('file-system-damaged', { structure: 'extended partition', offset });
}

/** `baseSector` is where the entry counts from. */
function partition(
  number: number,
  baseSector: number,
  { startSector, sectorCount, type }: MbrEntry,
  sectorBytes: number,
): Partition {
  return {
    number,
    offset: (baseSector + startSector) * sectorBytes,
    length: sectorCount * sectorBytes,
    type: type.toString(16).padStart(2, '0'),
    label: undefined,
  };
}
