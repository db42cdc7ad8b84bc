/** A sector with a partition table of the old kind: a master boot record, or a link of a chain. */

/** An entry of the table; sectors are counted from where the table says (UEFI 2.10, 5.2.1). */
export interface MbrEntry {
  /** Number in its table, 0 to 3. */
  readonly index: number;
  readonly type: number;
  readonly startSector: number;
  readonly sectorCount: number;
}

export const MBR_BYTES = 512;
/** The one entry of a disk whose true table is a GPT (UEFI 2.10, 5.2.3). */
export const TYPE_PROTECTIVE = 0xee;

const TABLE_OFFSET = 446;
const ENTRY_BYTES = 16;

/** Extended partitions hold a chain of logical ones: with CHS, with LBA, and of Linux. */
export function isExtended({ type }: MbrEntry): boolean {
  return type === 0x05 || type === 0x0f || type === 0x85;
}

/** The entries in use; undefined when the sector holds no table. */
export function parseMbr(sector: Buffer): MbrEntry[] | undefined {
  if (sector.readUInt16LE(510) !== 0xaa55) return undefined;
  const entries: MbrEntry[] = [];
  for (let index = 0; index < 4; index++) {
    const offset = TABLE_OFFSET + index * ENTRY_BYTES;
    // Boot code or a file system's boot sector has other bytes here.
    if ((sector[offset]! & 0x7f) !== 0) return undefined;
    const type = sector[offset + 4]!;
    const startSector = sector.readUInt32LE(offset + 8);
    const sectorCount = sector.readUInt32LE(offset + 12);
    if (type !== 0 && sectorCount > 0) entries.push({ index, type, startSector, sectorCount });
  }
  return entries;
}
