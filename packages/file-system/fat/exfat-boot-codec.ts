/** The boot sector of exFAT (Microsoft exFAT specification 1.00, 3.1). */
import { CofferError } from '@coffer/base';
import type { FatGeometry } from './boot-codec.ts';

/** Only the last of all numbers ends a chain; the ones before it are bad clusters and reserved. */
const END_MARK = 0xffff_ffff;

export function isExfat(bytes: Buffer): boolean {
  return bytes.toString('latin1', 3, 11) === 'EXFAT   ';
}

/** Fails with `file-system-damaged`, and for a newer revision with `file-system-unsupported`. */
export function parseExfatBoot(bytes: Buffer): FatGeometry {
  const sectorShift = bytes[108]!;
  const clusterShift = bytes[109]!;
  const tableCount = bytes[110]!;
  const revision = bytes[105]!;
  if (revision !== 1) {
    throw new CofferError('file-system-unsupported', { fileSystem: 'exfat', revision });
  }
  if (sectorShift < 9 || sectorShift > 12) throw damaged('sector size');
  if (sectorShift + clusterShift > 25) throw damaged('cluster size');
  if (tableCount < 1 || tableCount > 2) throw damaged('tables');
  const sectorBytes = 2 ** sectorShift;
  const tableSectors = bytes.readUInt32LE(84);
  const active = (bytes.readUInt16LE(106) & 1) !== 0 && tableCount === 2 ? 1 : 0;
  const clusterCount = bytes.readUInt32LE(92);
  if ((clusterCount + 2) * 4 > tableSectors * sectorBytes) throw damaged('cluster count');
  return {
    tableOffset: (bytes.readUInt32LE(80) + active * tableSectors) * sectorBytes,
    entryBits: 32,
    endMark: END_MARK,
    clusterBytes: 2 ** (sectorShift + clusterShift),
    clusterCount,
    clustersOffset: bytes.readUInt32LE(88) * sectorBytes,
    root: { cluster: bytes.readUInt32LE(96) },
  };
}

function damaged(reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'exfat boot sector', reason });
}
