/** The volume below all other structures: places of blocks and inodes, and reads inside of it. */
import type { Disk } from '@coffer/disk/disk.ts';
import { damaged, Fields } from './fields.ts';
import { type Geometry, parseSuperblock, SUPERBLOCK_BYTES } from './superblock-codec.ts';
import { CofferError } from '@coffer/base';
import { type Inode, parseInode } from './inode-codec.ts';

export interface Volume {
  readonly disk: Disk;
  readonly geometry: Geometry;
}

/** The checksum of the superblock covers a sector, of up to this size. */
const SECTOR_BYTES_MAX = 32 * 1024;

/** Fails with `file-system-unknown`, `file-system-unsupported` or `file-system-damaged`. */
export async function openVolume(disk: Disk): Promise<Volume> {
  const length = Math.min(SECTOR_BYTES_MAX, disk.sizeBytes);
  if (length < SUPERBLOCK_BYTES) throw new CofferError('file-system-unknown', { expected: 'xfs' });
  const superblock = await readFields(disk, 0, length, 'superblock');
  return { disk, geometry: parseSuperblock(superblock) };
}

export async function readInode(volume: Volume, number: bigint): Promise<Inode> {
  const { disk, geometry } = volume;
  const { inodeBits, inodeBytes } = geometry;
  const inBlock = Number(BigInt.asUintN(inodeBits, number));
  const block = blockOffset(volume, number >> BigInt(inodeBits), `inode ${number}`);
  const offset = block + inBlock * inodeBytes;
  const fields = await readFields(disk, offset, inodeBytes, `inode ${number}`);
  return parseInode(fields, number, geometry);
}

/** In bytes: the allocation group is in the high bits of a block number. */
export function blockOffset({ geometry }: Volume, place: bigint, structure: string): number {
  const { groupBits, groupCount, blocksPerGroup, blockBytes, blockCount } = geometry;
  const group = Number(place >> BigInt(groupBits));
  const inGroup = Number(BigInt.asUintN(groupBits, place));
  const blockIndex = group * blocksPerGroup + inGroup;
  if (group >= groupCount || inGroup >= blocksPerGroup || blockIndex >= blockCount) {
    throw damaged(structure, 0, `block ${inGroup} of group ${group} is outside of the volume`);
  }
  return blockIndex * blockBytes;
}

export async function readFields(
  disk: Disk,
  offset: number,
  length: number,
  structure: string,
): Promise<Fields> {
  const bytes = Buffer.allocUnsafe(length);
  await readInto(disk, offset, bytes, structure);
  return new Fields(bytes, structure, offset);
}

/** Fails with `file-system-damaged` when the volume ends before. */
export async function readInto(
  disk: Disk,
  offset: number,
  target: Uint8Array,
  structure: string,
): Promise<void> {
  if (offset + target.length > disk.sizeBytes) {
    throw damaged(structure, offset, `the volume ends at ${disk.sizeBytes}`);
  }
  await disk.read(offset, target);
}
