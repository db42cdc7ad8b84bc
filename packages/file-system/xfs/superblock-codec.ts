/** The superblock: how the volume is divided, and which features of the format it uses. */
import { CofferError } from '@coffer/base';
import { requireChecksum } from './checksum-codec.ts';
import { type Fields, unsupported } from './fields.ts';

export const SUPERBLOCK_BYTES = 512;

export interface Geometry {
  /** Version 5: metadata has checksums and says where it belongs. */
  readonly hasChecksums: boolean;
  /** Names in folders say what they name. */
  readonly hasFileTypes: boolean;
  /** Folders are indexed by names in lower case. */
  readonly hashesLowerCase: boolean;
  readonly blockBytes: number;
  readonly blockCount: number;
  readonly blocksPerGroup: number;
  /** Bits of a block number that are the block in its allocation group. */
  readonly groupBits: number;
  readonly groupCount: number;
  readonly inodeBytes: number;
  /** Bits of an inode number that are the place in its block. */
  readonly inodeBits: number;
  readonly folderBlockBytes: number;
  readonly rootInode: bigint;
}

const MAGIC = 'XFSB';
const CRC_AT = 224;
const VERSION_DIR2 = 0x2000;
const VERSION_LOWER_CASE = 0x4000;
const FEATURE2_FILE_TYPES = 0x200;
const INCOMPAT_FILE_TYPES = 0x1;
/**
 * File types, sparse inodes, UUID of metadata, large times, needs repair, counts of 64 bits,
 * exchange of ranges, parent pointers. The others change where things are.
 */
const INCOMPAT_KNOWN = 0xff;
const BLOCK_BYTES_MIN = 512;
const BLOCK_BYTES_MAX = 64 * 1024;

/** Fails with `file-system-unknown`, `file-system-unsupported` or `file-system-damaged`. */
export function parseSuperblock(block: Fields): Geometry {
  if (block.bytes.toString('latin1', 0, 4) !== MAGIC) {
    throw new CofferError('file-system-unknown', { expected: 'xfs' });
  }
  const hasChecksums = requireFeatures(block);
  const geometry = {
    hasChecksums,
    hasFileTypes: hasChecksums
      ? (block.u32(216) & INCOMPAT_FILE_TYPES) !== 0
      : (block.u32(200) & FEATURE2_FILE_TYPES) !== 0,
    hashesLowerCase: (block.u16(100) & VERSION_LOWER_CASE) !== 0,
    blockBytes: block.u32(4),
    blockCount: block.size64(8),
    blocksPerGroup: block.u32(84),
    groupBits: block.u8(124),
    groupCount: block.u32(88),
    inodeBytes: block.u16(104),
    inodeBits: block.u8(123),
    folderBlockBytes: block.u32(4) * 2 ** block.u8(192),
    rootInode: block.u64(56),
  };
  requireSane(block, geometry);
  return geometry;
}

function requireFeatures(block: Fields): boolean {
  const flags = block.u16(100);
  const version = flags & 0xf;
  if (version !== 4 && version !== 5) throw unsupported(`version ${version} of the format`);
  if (version === 4) {
    if ((flags & VERSION_DIR2) === 0) throw unsupported('folders of version 1');
    return false;
  }
  // The checksum covers the sector.
  const sectorBytes = block.u16(102);
  if (!isPowerBetween(sectorBytes, 512, 32_768)) {
    throw block.damaged(`sectors of ${sectorBytes} bytes`);
  }
  requireChecksum(block.part(0, sectorBytes), CRC_AT);
  const unknown = (block.u32(216) & ~INCOMPAT_KNOWN) >>> 0;
  if (unknown !== 0) throw unsupported(`features 0x${unknown.toString(16)}`);
  return true;
}

function requireSane(block: Fields, geometry: Geometry): void {
  const { blockBytes, inodeBytes, folderBlockBytes, blocksPerGroup, groupBits } = geometry;
  const checks: Readonly<Record<string, boolean>> = {
    'size of blocks': isPowerBetween(blockBytes, BLOCK_BYTES_MIN, BLOCK_BYTES_MAX),
    'size of inodes': isPowerBetween(inodeBytes, 256, Math.min(2048, blockBytes)),
    'inodes in a block': 2 ** geometry.inodeBits * inodeBytes === blockBytes,
    'size of blocks of folders': isPowerBetween(folderBlockBytes, blockBytes, BLOCK_BYTES_MAX),
    'blocks of a group': groupBits < 32 && blocksPerGroup > 0 && blocksPerGroup <= 2 ** groupBits,
    'count of blocks': geometry.blockCount <= geometry.groupCount * blocksPerGroup,
    size: Number.isSafeInteger(geometry.blockCount * blockBytes),
  };
  for (const [what, isSane] of Object.entries(checks)) {
    if (!isSane) throw block.damaged(`the ${what} is impossible`);
  }
}

export function isPowerBetween(value: number, min: number, max: number): boolean {
  return value >= min && value <= max && Number.isInteger(Math.log2(value));
}
