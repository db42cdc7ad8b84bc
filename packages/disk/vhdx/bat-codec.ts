/** The block allocation table: its layout and its entries ([MS-VHDX] 2.5). */
import type { DiskParameters } from './metadata-codec.ts';
import { MIB, SECTORS_PER_CHUNK } from './sizes.ts';

export const BAT_ENTRY_BYTES = 8;

const STATE_MASK = 7;
const RESERVED_MASK = 0xffff8;
const OFFSET_SHIFT = 20;

/** 2.5.1.1. */
export const PAYLOAD = {
  notPresent: 0,
  undefined: 1,
  zero: 2,
  unmapped: 3,
  fullyPresent: 6,
  partiallyPresent: 7,
} as const;

/** 2.5.1.2. */
export const BITMAP = { notPresent: 0, present: 6 } as const;

export interface BatEntry {
  readonly state: number;
  /** In bytes; it has a meaning only where the state says that there is a block. */
  readonly offset: number;
}

/**
 * How the entries follow each other: those of the payload blocks of a chunk, then that of its sector
 * bitmap block.
 */
export interface BatLayout {
  readonly blockCount: number;
  /** Payload blocks of a chunk. */
  readonly chunkRatio: number;
  readonly entryCount: number;
}

export function batLayout(parameters: DiskParameters): BatLayout {
  const { sizeBytes, blockSizeBytes, logicalSectorBytes, isDifferencing } = parameters;
  const chunkRatio = (SECTORS_PER_CHUNK * logicalSectorBytes) / blockSizeBytes;
  const blockCount = Math.ceil(sizeBytes / blockSizeBytes);
  const entryCount = isDifferencing
    ? Math.ceil(blockCount / chunkRatio) * (chunkRatio + 1)
    : blockCount + Math.floor((blockCount - 1) / chunkRatio);
  return { blockCount, chunkRatio, entryCount };
}

/** The number of the payload block's entry. */
export function payloadEntryIndex({ chunkRatio }: BatLayout, blockIndex: number): number {
  return blockIndex + Math.floor(blockIndex / chunkRatio);
}

/** The number of the entry of the sector bitmap block of the payload block's chunk. */
export function bitmapEntryIndex({ chunkRatio }: BatLayout, blockIndex: number): number {
  return (Math.floor(blockIndex / chunkRatio) + 1) * (chunkRatio + 1) - 1;
}

export function decodeBatEntry(bytes: Buffer, at: number): BatEntry {
  const low = bytes.readUInt32LE(at);
  const high = bytes.readUInt32LE(at + 4);
  return { state: low & STATE_MASK, offset: (high * 0x1000 + (low >>> OFFSET_SHIFT)) * MIB };
}

/** True when bits are set that have no meaning. */
export function hasReservedBits(bytes: Buffer, at: number): boolean {
  return (bytes.readUInt32LE(at) & RESERVED_MASK) !== 0;
}

export function encodeBatEntry({ state, offset }: BatEntry, bytes: Buffer, at: number): void {
  const megabytes = offset / MIB;
  bytes.writeUInt32LE((((megabytes % 0x1000) << OFFSET_SHIFT) | state) >>> 0, at);
  bytes.writeUInt32LE(Math.floor(megabytes / 0x1000), at + 4);
}
