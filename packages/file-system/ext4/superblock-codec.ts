/**
 * The superblock of ext2, ext3 and ext4, and the descriptors of block groups (kernel documentation,
 * "ext4 Data Structures and Algorithms": Super Block, Block Group Descriptors).
 */
import { CofferError } from '@coffer/base';
import { continueCrc32c, CRC32C_START, continueCrc32cByNumber } from '@coffer/base/crc32c.ts';

export interface Superblock {
  readonly blockBytes: number;
  /** What is allotted at once: more than a block where the volume has clusters of them. */
  readonly clusterBytes: number;
  readonly blockCount: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly groupCount: number;
  readonly inodeCount: number;
  readonly inodesPerGroup: number;
  readonly inodeBytes: number;
  readonly descriptorBytes: number;
  /** Descriptors from this block of them on lie in their own groups (META_BG). */
  readonly firstMetaGroup: number;
  /** Groups that hold a copy of the superblock, where they are two at most; else the usual ones. */
  readonly backupGroups: readonly number[] | undefined;
  readonly isSparse: boolean;
  readonly hasFileTypes: boolean;
  /** Values of attributes can be in inodes of their own. */
  readonly hasAttributeInodes: boolean;
  /** The journal holds changes that are not at their place yet. */
  readonly needsRecovery: boolean;
  readonly journalInode: number;
  readonly hasChecksums: boolean;
  readonly checksumSeed: number;
}

export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_BYTES = 1024;

const MAGIC = 0xef53;
const SPARSE_SUPER2 = 0x200;
const READ_ONLY = { sparseSuper: 0x1, clusters: 0x200, metadataChecksum: 0x400 } as const;
const INCOMPATIBLE = {
  fileType: 0x2,
  recover: 0x4,
  metaGroups: 0x10,
  wide: 0x80,
  attributeInodes: 0x400,
  checksumSeed: 0x2000,
} as const;

/** Features without which a volume is not understood, by what is known of them. */
const UNDERSTOOD =
  INCOMPATIBLE.fileType |
  INCOMPATIBLE.recover |
  INCOMPATIBLE.metaGroups |
  INCOMPATIBLE.wide |
  INCOMPATIBLE.attributeInodes |
  INCOMPATIBLE.checksumSeed |
  0x40 | // Extents.
  0x100 | // Protection against several mounts.
  0x200 | // Flexible groups.
  0x4000 | // Large folders.
  0x8000 | // Contents in inodes.
  0x1_0000 | // Encryption, of some folders.
  0x2_0000; // Names that ignore case.

/**
 * Fails with `file-system-damaged`, or with `file-system-unsupported` when the volume uses features
 * that are not understood.
 */
export function parseSuperblock(bytes: Buffer): Superblock {
  if (bytes.readUInt16LE(56) !== MAGIC) throw damaged('magic');
  const isOld = bytes.readUInt32LE(76) === 0;
  const compatible = isOld ? 0 : bytes.readUInt32LE(92);
  const incompatible = isOld ? 0 : bytes.readUInt32LE(96);
  const readOnly = isOld ? 0 : bytes.readUInt32LE(100);
  const unknown = incompatible & ~UNDERSTOOD;
  if (unknown !== 0) {
    const features = `0x${(unknown >>> 0).toString(16)}`;
    throw new CofferError('file-system-unsupported', { fileSystem: 'ext4', features });
  }
  const hasChecksums = (readOnly & READ_ONLY.metadataChecksum) !== 0;
  if (
    hasChecksums &&
    continueCrc32c(CRC32C_START, bytes.subarray(0, 1020)) !== bytes.readUInt32LE(1020)
  ) {
    throw damaged('checksum');
  }
  const isWide = (incompatible & INCOMPATIBLE.wide) !== 0;
  const hasSeed = (incompatible & INCOMPATIBLE.checksumSeed) !== 0;
  const hasMetaGroups = (incompatible & INCOMPATIBLE.metaGroups) !== 0;
  return checked({
    ...parseGeometry(bytes, isWide),
    clusterBytes: clusterBytesOf(bytes, (readOnly & READ_ONLY.clusters) !== 0),
    inodeBytes: isOld ? 128 : bytes.readUInt16LE(88),
    descriptorBytes: isWide ? bytes.readUInt16LE(254) : 32,
    firstMetaGroup: hasMetaGroups ? bytes.readUInt32LE(260) : Number.MAX_SAFE_INTEGER,
    backupGroups:
      (compatible & SPARSE_SUPER2) === 0
        ? undefined
        : [bytes.readUInt32LE(0x24c), bytes.readUInt32LE(0x250)],
    isSparse: (readOnly & READ_ONLY.sparseSuper) !== 0,
    hasAttributeInodes: (incompatible & INCOMPATIBLE.attributeInodes) !== 0,
    hasFileTypes: (incompatible & INCOMPATIBLE.fileType) !== 0,
    needsRecovery: (incompatible & INCOMPATIBLE.recover) !== 0,
    journalInode: bytes.readUInt32LE(224),
    hasChecksums,
    checksumSeed: hasSeed
      ? bytes.readUInt32LE(0x270)
      : continueCrc32c(CRC32C_START, bytes.subarray(104, 120)),
  });
}

function parseGeometry(bytes: Buffer, isWide: boolean) {
  const logBlockSize = bytes.readUInt32LE(24);
  if (logBlockSize > 6) throw damaged('block size');
  const blockCount = bytes.readUInt32LE(4) + (isWide ? bytes.readUInt32LE(0x150) * 2 ** 32 : 0);
  const firstDataBlock = bytes.readUInt32LE(20);
  const blocksPerGroup = bytes.readUInt32LE(32);
  return {
    blockBytes: 1024 * 2 ** logBlockSize,
    blockCount,
    firstDataBlock,
    blocksPerGroup,
    groupCount: Math.ceil((blockCount - firstDataBlock) / blocksPerGroup),
    inodeCount: bytes.readUInt32LE(0),
    inodesPerGroup: bytes.readUInt32LE(40),
  };
}

function clusterBytesOf(bytes: Buffer, hasClusters: boolean): number {
  return 1024 * 2 ** bytes.readUInt32LE(hasClusters ? 28 : 24);
}

/** Everything that is divided by, or taken for a size, is so that this can be done. */
function checked(superblock: Superblock): Superblock {
  const { blockBytes, blockCount, blocksPerGroup, inodesPerGroup } = superblock;
  const { inodeBytes, descriptorBytes, firstDataBlock, groupCount, inodeCount } = superblock;
  const facts = {
    'blocks per group': blocksPerGroup > 0,
    'block count': blockCount > firstDataBlock && Number.isSafeInteger(blockCount * blockBytes),
    'first data block': firstDataBlock <= 1,
    'inodes per group': inodesPerGroup > 0 && inodesPerGroup <= 8 * blockBytes,
    'inode size': isPowerOfTwo(inodeBytes) && inodeBytes >= 128 && inodeBytes <= blockBytes,
    'descriptor size':
      isPowerOfTwo(descriptorBytes) && descriptorBytes >= 32 && descriptorBytes <= 1024,
    'inode count': inodeCount <= groupCount * inodesPerGroup,
  };
  for (const [what, isTrue] of Object.entries(facts)) if (!isTrue) throw damaged(what);
  return superblock;
}

/** The block that holds the descriptor of a group. */
export function descriptorBlock(superblock: Superblock, group: number): number {
  const { blockBytes, descriptorBytes, firstMetaGroup, firstDataBlock } = superblock;
  const perBlock = blockBytes / descriptorBytes;
  const index = Math.floor(group / perBlock);
  // The superblock itself lies in the first kilobyte but one.
  const superblockBlock = blockBytes === 1024 ? 1 : 0;
  if (index < firstMetaGroup) return superblockBlock + 1 + index;
  const first = index * perBlock;
  const isShifted = superblockBlock === 1 && index === 0 && firstDataBlock === 0;
  const skipped = (hasBackup(superblock, first) ? 1 : 0) + (isShifted ? 1 : 0);
  return firstDataBlock + first * superblock.blocksPerGroup + skipped;
}

/** Copies are in groups 0 and 1 and in powers of 3, 5 and 7, or in all groups of old volumes. */
function hasBackup({ isSparse, backupGroups }: Superblock, group: number): boolean {
  if (group === 0) return true;
  if (backupGroups) return backupGroups.includes(group);
  if (group === 1 || !isSparse) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

export interface GroupDescriptor {
  readonly inodeTableBlock: number;
}

/** Fails with `file-system-damaged` when the checksum is wrong. */
export function parseDescriptor(
  superblock: Superblock,
  group: number,
  bytes: Buffer,
): GroupDescriptor {
  if (superblock.hasChecksums) {
    const copy = Buffer.from(bytes);
    copy.writeUInt16LE(0, 30);
    const sum =
      continueCrc32c(continueCrc32cByNumber(superblock.checksumSeed, group), copy) & 0xffff;
    if (sum !== bytes.readUInt16LE(30)) {
      throw new CofferError('file-system-damaged', { structure: 'group descriptor', group });
    }
  }
  const high = bytes.length >= 64 ? bytes.readUInt32LE(40) : 0;
  return { inodeTableBlock: bytes.readUInt32LE(8) + high * 2 ** 32 };
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}

function damaged(reason: string): CofferError {
  const details = { structure: 'ext4 superblock', offset: SUPERBLOCK_OFFSET, reason };
  return new CofferError('file-system-damaged', details);
}
