/** The marks of file systems and other formats in the first bytes of a volume. */

export type FileSystemKind =
  | 'ext4'
  | 'ext3'
  | 'ext2'
  | 'xfs'
  | 'btrfs'
  | 'ntfs'
  | 'fat12'
  | 'fat16'
  | 'fat32'
  | 'exfat'
  | 'swap'
  | 'luks'
  | 'lvm2'
  | 'bitlocker'
  | 'refs'
  | 'iso9660'
  | 'unknown';

export interface Detected {
  readonly kind: FileSystemKind;
  readonly label: string | undefined;
  readonly uuid: string | undefined;
  readonly sizeBytes: number;
}

/** What a format tells of itself; the rest is filled in. */
interface Mark {
  readonly kind: FileSystemKind;
  readonly label?: string | undefined;
  readonly uuid?: string | undefined;
  readonly sizeBytes?: number;
}

/** The superblock of btrfs is the last of the marks: 64 KiB and 4 KiB. */
export const DETECTED_BYTES = 68 * 1024;

const BTRFS_OFFSET = 64 * 1024;
const ISO_OFFSET = 32 * 1024;
/** Swap is marked at the end of the first page, whose size the machine chose. */
const PAGE_BYTES = [4096, 8192, 16_384, 65_536];
/** BitLocker To Go has the boot sector of a FAT with this GUID in it. */
const BITLOCKER_TO_GO = '3bd66749292ed84a8399f6a339e3d001';

/** `head` has `DETECTED_BYTES`, with zeroes where the volume is smaller. */
export function detectIn(head: Buffer, volumeBytes: number): Detected {
  for (const detect of DETECTORS) {
    const mark = detect(head);
    if (!mark) continue;
    const { kind, label, uuid, sizeBytes } = mark;
    const isSize = sizeBytes !== undefined && Number.isSafeInteger(sizeBytes) && sizeBytes > 0;
    return { kind, label, uuid, sizeBytes: isSize ? sizeBytes : volumeBytes };
  }
  return { kind: 'unknown', label: undefined, uuid: undefined, sizeBytes: volumeBytes };
}

/**
 * Those with long marks first; FAT has hardly any. A swap area may have been made over a LUKS volume
 * by mistake, whose second header opens it still.
 */
const DETECTORS: readonly ((head: Buffer) => Mark | undefined)[] = [
  detectLuks,
  detectLvm,
  detectBootSector,
  detectXfs,
  detectBtrfs,
  detectExt,
  detectLuksCopy,
  detectSwap,
  detectFat,
  detectIso,
];

function detectLuks(head: Buffer): Mark | undefined {
  if (!head.subarray(0, 6).equals(Buffer.from('LUKS\xba\xbe', 'latin1'))) return undefined;
  const label = head.readUInt16BE(6) === 2 ? textOf(head, 24, 48) : undefined;
  return { kind: 'luks', uuid: textOf(head, 168, 40), label };
}

/** The second header of LUKS2, of the sizes that are within reach: cryptsetup makes the first one. */
function detectLuksCopy(head: Buffer): Mark | undefined {
  for (const offset of [0x4000, 0x8000, 0x1_0000]) {
    const copy = head.subarray(offset, offset + 512);
    const isCopy = copy.subarray(0, 6).equals(Buffer.from('SKUL\xba\xbe', 'latin1'));
    if (!isCopy || copy.readBigUInt64BE(256) !== BigInt(offset)) continue;
    return { kind: 'luks', uuid: textOf(copy, 168, 40), label: textOf(copy, 24, 48) };
  }
  return undefined;
}

function detectLvm(head: Buffer): Mark | undefined {
  for (let offset = 0; offset < 2048; offset += 512) {
    const isLabel = head.toString('latin1', offset, offset + 8) === 'LABELONE';
    if (!isLabel || head.toString('latin1', offset + 24, offset + 32) !== 'LVM2 001') continue;
    const id = head.toString('latin1', offset + 32, offset + 64);
    const uuid = id.replace(/^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})$/, '$1-$2-$3-$4-$5-$6-$7');
    return { kind: 'lvm2', uuid, sizeBytes: u64(head, offset + 64) };
  }
  return undefined;
}

/** Formats that have their name where FAT has the name of the system that made it. */
function detectBootSector(head: Buffer): Mark | undefined {
  const name = head.toString('latin1', 3, 11);
  const sectorBytes = head.readUInt16LE(11);
  if (name === '-FVE-FS-') return { kind: 'bitlocker' };
  if (head.toString('hex', 0x1a8, 0x1b8) === BITLOCKER_TO_GO) return { kind: 'bitlocker' };
  if (name === 'ReFS\0\0\0\0') return { kind: 'refs' };
  if (name === 'NTFS    ') {
    const uuid = head.readBigUInt64LE(0x48).toString(16).toUpperCase().padStart(16, '0');
    return { kind: 'ntfs', uuid, sizeBytes: u64(head, 0x28) * sectorBytes };
  }
  if (name === 'EXFAT   ') {
    const sizeBytes = u64(head, 72) * 2 ** Math.min(12, head[108]!);
    return { kind: 'exfat', uuid: serialOf(head, 100), sizeBytes };
  }
  return undefined;
}

function detectXfs(head: Buffer): Mark | undefined {
  if (head.toString('latin1', 0, 4) !== 'XFSB') return undefined;
  const sizeBytes = head.readUInt32BE(4) * Number(head.readBigUInt64BE(8));
  return { kind: 'xfs', uuid: uuidOf(head, 32), label: textOf(head, 108, 12), sizeBytes };
}

function detectBtrfs(head: Buffer): Mark | undefined {
  const start = BTRFS_OFFSET;
  if (head.toString('latin1', start + 64, start + 72) !== '_BHRfS_M') return undefined;
  return {
    kind: 'btrfs',
    uuid: uuidOf(head, start + 32),
    label: textOf(head, start + 0x12b, 256),
    sizeBytes: u64(head, start + 0x70),
  };
}

/** What ext4 has and ext3 had not: among the features that others must know, and may write with. */
const EXT3_INCOMPATIBLE = 0x2 | 0x4 | 0x10;
const EXT3_READ_ONLY = 0x1 | 0x2 | 0x4;
const EXT_JOURNAL = 0x4;
const EXT_JOURNAL_DEVICE = 0x8;

function detectExt(head: Buffer): Mark | undefined {
  const start = 1024;
  if (head.readUInt16LE(start + 56) !== 0xef53) return undefined;
  const incompatible = head.readUInt32LE(start + 96);
  if ((incompatible & EXT_JOURNAL_DEVICE) !== 0) return undefined;
  const isNew =
    (incompatible & ~EXT3_INCOMPATIBLE) !== 0 ||
    (head.readUInt32LE(start + 100) & ~EXT3_READ_ONLY) !== 0;
  const hasJournal = (head.readUInt32LE(start + 92) & EXT_JOURNAL) !== 0;
  const blockBytes = 1024 * 2 ** Math.min(6, head.readUInt32LE(start + 24));
  const high = (incompatible & 0x80) === 0 ? 0 : head.readUInt32LE(start + 0x150);
  return {
    kind: isNew ? 'ext4' : hasJournal ? 'ext3' : 'ext2',
    uuid: uuidOf(head, start + 104),
    label: textOf(head, start + 120, 16),
    sizeBytes: (head.readUInt32LE(start + 4) + high * 2 ** 32) * blockBytes,
  };
}

function detectSwap(head: Buffer): Mark | undefined {
  const isSwap = PAGE_BYTES.some((pageBytes) =>
    ['SWAPSPACE2', 'SWAP-SPACE'].includes(head.toString('latin1', pageBytes - 10, pageBytes)),
  );
  if (!isSwap) return undefined;
  return { kind: 'swap', uuid: uuidOf(head, 1036), label: textOf(head, 1052, 16) };
}

function detectFat(head: Buffer): Mark | undefined {
  const sectorBytes = head.readUInt16LE(11);
  const clusterSectors = head[13]!;
  const reservedSectors = head.readUInt16LE(14);
  const tableCount = head[16]!;
  if (![512, 1024, 2048, 4096].includes(sectorBytes)) return undefined;
  if (clusterSectors === 0 || (clusterSectors & (clusterSectors - 1)) !== 0) return undefined;
  if (reservedSectors === 0 || tableCount === 0 || tableCount > 4) return undefined;
  if (head[21]! < 0xf0 || head.readUInt16LE(510) !== 0xaa55) return undefined;
  const sectorCount = head.readUInt16LE(19) || head.readUInt32LE(32);
  const tableSectors = head.readUInt16LE(22) || head.readUInt32LE(36);
  const rootSectors = Math.ceil((head.readUInt16LE(17) * 32) / sectorBytes);
  const dataSectors = sectorCount - reservedSectors - tableCount * tableSectors - rootSectors;
  const clusterCount = Math.floor(dataSectors / clusterSectors);
  if (tableSectors === 0 || clusterCount <= 0) return undefined;
  // The number of clusters alone tells them apart (FAT specification 1.03, 3.5).
  const isFat32 = head.readUInt16LE(22) === 0;
  const kind = isFat32 ? 'fat32' : clusterCount < 4085 ? 'fat12' : 'fat16';
  const extended = isFat32 ? 66 : 38;
  // The label here is a copy that Windows does not keep: that of the root folder counts.
  return {
    kind,
    uuid: serialOf(head, extended + 1),
    sizeBytes: sectorCount * sectorBytes,
  };
}

function detectIso(head: Buffer): Mark | undefined {
  if (head.toString('latin1', ISO_OFFSET + 1, ISO_OFFSET + 6) !== 'CD001') return undefined;
  const sizeBytes = head.readUInt32LE(ISO_OFFSET + 80) * 2048;
  return { kind: 'iso9660', label: textOf(head, ISO_OFFSET + 40, 32), sizeBytes };
}

/** Text that ends with a zero byte or spaces; undefined when there is none. */
export function textOf(bytes: Buffer, offset: number, length: number): string | undefined {
  const field = bytes.subarray(offset, offset + length);
  const end = field.indexOf(0);
  const text = field
    .subarray(0, end < 0 ? length : end)
    .toString('utf8')
    .trimEnd();
  return text === '' ? undefined : text;
}

/** In the usual form with dashes; undefined when all is zero. */
export function uuidOf(bytes: Buffer, offset: number): string | undefined {
  const hex = bytes.toString('hex', offset, offset + 16);
  if (/^0*$/.test(hex)) return undefined;
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** The serial number of a FAT, as DOS prints it. */
function serialOf(bytes: Buffer, offset: number): string {
  const hex = bytes.readUInt32LE(offset).toString(16).toUpperCase().padStart(8, '0');
  return `${hex.slice(0, 4)}-${hex.slice(4)}`;
}

function u64(bytes: Buffer, offset: number): number {
  return Number(bytes.readBigUInt64LE(offset));
}
