/**
 * Which partition table of a disk is in force, as Linux decides it (block/partitions/efi.c and
 * msdos.c): a GPT counts only where the master boot record has an entry of type 0xEE, whatever is
 * left of older tables elsewhere on the disk; with that entry, no other of the record counts.
 */
import { CofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { detectFileSystem, type FileSystemKind } from './detect.ts';
import { gptPartitions } from './gpt.ts';
import { mbrPartitions } from './mbr.ts';
import { MBR_BYTES, type MbrEntry, parseMbr, TYPE_PROTECTIVE } from './mbr-codec.ts';
import type { PartitionTable } from './partition.ts';

/** Their boot sectors can look like master boot records. */
const HAS_BOOT_SECTOR: ReadonlySet<FileSystemKind> = new Set([
  'ntfs',
  'exfat',
  'refs',
  'bitlocker',
  'fat12',
  'fat16',
  'fat32',
]);

/** Undefined when the disk has no partition table. */
export async function readPartitionTable(disk: Disk): Promise<PartitionTable | undefined> {
  if (disk.sizeBytes < MBR_BYTES) return undefined;
  const sector = Buffer.alloc(MBR_BYTES);
  await disk.read(0, sector);
  const entries = parseMbr(sector) ?? [];
  const protective = entries.find(({ type }) => type === TYPE_PROTECTIVE);
  if (protective) return await protectedTable(disk, protective);
  const { kind } = await detectFileSystem(disk);
  if (entries.length === 0) return kind === 'unknown' ? await unprotectedTable(disk) : undefined;
  return HAS_BOOT_SECTOR.has(kind) ? undefined : await mbrPartitions(disk, entries);
}

/**
 * Linux also asks that the entry begins in sector 1, and sees no table at all where it does not:
 * then the GPT is the only one that there is.
 */
async function protectedTable(disk: Disk, protective: MbrEntry): Promise<PartitionTable> {
  const partitions = await gptPartitions(disk, protective.sectorCount);
  if (partitions) return { partitions, problem: undefined };
  return { partitions: [], problem: damaged('every copy is damaged') };
}

/** Nothing else is on the disk: what the GPT says is shown, with what it lacks. */
async function unprotectedTable(disk: Disk): Promise<PartitionTable | undefined> {
  const partitions = await gptPartitions(disk, undefined);
  return partitions && { partitions, problem: damaged('the master boot record is empty') };
}

function damaged(reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'GUID partition table', reason });
}
