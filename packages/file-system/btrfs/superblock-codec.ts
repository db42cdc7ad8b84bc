/** `struct btrfs_super_block`. */
import { isChecksumRight, isKnownChecksum } from './checksum-codec.ts';
import { Fields, unsupported } from './fields.ts';

export const SUPERBLOCK_BYTES = 4096;
/** The first is the one that counts; the others are there for when it is lost. */
export const SUPERBLOCK_OFFSETS = [64 * 1024, 64 * 1024 ** 2, 256 * 1024 ** 3] as const;
const MAGIC = '_BHRfS_M';
const SYSTEM_CHUNKS_OFFSET = 811;
const SYSTEM_CHUNKS_BYTES_MAX = 2048;
const BLOCK_BYTES_MAX = 65_536;

/**
 * Features that change nothing for who reads as is done here: all up to METADATA_UUID and RAID1C34,
 * and SIMPLE_QUOTA. ZONED, EXTENT_TREE_V2, RAID_STRIPE_TREE and later ones do.
 */
const KNOWN_FEATURES = 0xfffn | (1n << 16n);

/** Where a tree block is, and what it has to be. */
export interface BlockPointer {
  readonly address: number;
  readonly generation: bigint;
  readonly level: number;
}

export interface Superblock {
  readonly rootTree: BlockPointer;
  readonly chunkTree: BlockPointer;
  readonly deviceId: bigint;
  readonly sectorBytes: number;
  readonly nodeBytes: number;
  readonly checksumType: number;
  /** Chunks that are needed to read the chunk tree. */
  readonly systemChunks: Fields;
}

/** Undefined where there is no superblock, or a damaged one. */
export function findSuperblock(bytes: Buffer, offset: number): Fields | undefined {
  if (bytes.length < SUPERBLOCK_BYTES || bytes.toString('latin1', 64, 72) !== MAGIC)
    return undefined;
  const fields = new Fields(bytes, 'superblock', offset);
  if (fields.u64(48) !== BigInt(offset)) return undefined;
  return isChecksumRight(bytes, fields.u16(196)) ? fields : undefined;
}

/** Fails with `file-system-damaged` and `file-system-unsupported`. */
export function parseSuperblock(fields: Fields): Superblock {
  refuseUnsupported(fields);
  const nodeBytes = blockSize(fields, 148);
  const systemBytes = fields.u32(160);
  if (systemBytes > SYSTEM_CHUNKS_BYTES_MAX) throw fields.damaged('too many system chunks');
  return {
    rootTree: {
      address: fields.size64(80),
      generation: fields.u64(72),
      level: fields.u8(198),
    },
    chunkTree: {
      address: fields.size64(88),
      generation: fields.u64(164),
      level: fields.u8(199),
    },
    // `struct btrfs_dev_item` begins with the number of this device.
    deviceId: fields.u64(201),
    sectorBytes: blockSize(fields, 144),
    nodeBytes,
    checksumType: fields.u16(196),
    systemChunks: fields.part(SYSTEM_CHUNKS_OFFSET, systemBytes, 'system chunks'),
  };
}

function refuseUnsupported(fields: Fields): void {
  const unknown = fields.u64(188) & ~KNOWN_FEATURES;
  if (unknown !== 0n) throw unsupported(`incompatible features 0x${unknown.toString(16)}`);
  if (!isKnownChecksum(fields.u16(196))) throw unsupported(`checksums of type ${fields.u16(196)}`);
  const deviceCount = fields.u64(136);
  if (deviceCount !== 1n) throw unsupported(`it is on ${deviceCount} devices`);
}

function blockSize(fields: Fields, at: number): number {
  const size = fields.u32(at);
  if (size < 4096 || size > BLOCK_BYTES_MAX || (size & (size - 1)) !== 0) {
    throw fields.damaged(`block size ${size}`);
  }
  return size;
}
