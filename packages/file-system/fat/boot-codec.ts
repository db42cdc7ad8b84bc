/** The boot sector of FAT12, FAT16 and FAT32 (Microsoft FAT specification 1.03, 3). */
import { CofferError } from '@coffer/base';
import type { ByteRange } from '@coffer/disk/disk.ts';
import type { ClusterGeometry } from './clusters.ts';

export interface FatGeometry extends ClusterGeometry {
  /** The root folder: a chain of clusters (FAT32), or a part of the volume (others). */
  readonly root: { readonly cluster: number } | ByteRange;
}

export const BOOT_BYTES = 512;
const ENTRY_BYTES = 32;
const END_MARKS = { 12: 0xff8, 16: 0xfff8, 32: 0x0fff_fff8 } as const;

/** Fails with `file-system-damaged`. */
export function parseFatBoot(bytes: Buffer): FatGeometry {
  const sectorBytes = bytes.readUInt16LE(11);
  const clusterSectors = bytes[13]!;
  const reservedSectors = bytes.readUInt16LE(14);
  const tableCount = bytes[16]!;
  const tableSectors = bytes.readUInt16LE(22) || bytes.readUInt32LE(36);
  const sectorCount = bytes.readUInt16LE(19) || bytes.readUInt32LE(32);
  const isFat32 = bytes.readUInt16LE(22) === 0;
  const rootBytes = isFat32 ? 0 : bytes.readUInt16LE(17) * ENTRY_BYTES;
  if (![512, 1024, 2048, 4096].includes(sectorBytes)) throw damaged('sector size');
  if (clusterSectors === 0 || (clusterSectors & (clusterSectors - 1)) !== 0) {
    throw damaged('cluster size');
  }
  if (reservedSectors === 0 || tableCount === 0 || tableSectors === 0) throw damaged('tables');
  const rootSector = reservedSectors + tableCount * tableSectors;
  const firstSector = rootSector + Math.ceil(rootBytes / sectorBytes);
  const clusterCount = Math.floor((sectorCount - firstSector) / clusterSectors);
  if (clusterCount <= 0) throw damaged('cluster count');
  const entryBits = isFat32 ? 32 : clusterCount < 4085 ? 12 : 16;
  const tableEntries = Math.floor((tableSectors * sectorBytes * 8) / entryBits);
  return {
    tableOffset:
      (reservedSectors + activeTable(bytes, isFat32, tableCount) * tableSectors) * sectorBytes,
    entryBits,
    endMark: END_MARKS[entryBits],
    clusterBytes: clusterSectors * sectorBytes,
    // The table says no more than its own size.
    clusterCount: Math.max(0, Math.min(clusterCount, tableEntries - 2)),
    clustersOffset: firstSector * sectorBytes,
    root: isFat32
      ? { cluster: bytes.readUInt32LE(44) }
      : { offset: rootSector * sectorBytes, length: rootBytes },
  };
}

/** FAT32 can say that one table alone is true; else they are copies. */
function activeTable(bytes: Buffer, isFat32: boolean, tableCount: number): number {
  const flags = isFat32 ? bytes.readUInt16LE(40) : 0;
  if ((flags & 0x80) === 0) return 0;
  const active = flags & 0xf;
  if (active >= tableCount) throw damaged('active table');
  return active;
}

function damaged(reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'fat boot sector', reason });
}
