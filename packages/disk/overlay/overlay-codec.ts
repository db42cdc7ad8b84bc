/**
 * The head of an overlay file. Pure. An overlay is one sparse file: a head of 4 KiB; a bitmap with a
 * bit for each block of 4 KiB, low bit first; and, from the next 4 KiB on, the blocks at their places.
 * Integers are little-endian.
 */
import { BinaryReader, BinaryWriter } from '@coffer/base';

export const OVERLAY_BLOCK_SIZE_BYTES = 4096;
const MAGIC = Buffer.from('CFROVER1', 'latin1');
const BASE_SIZE_BYTES_MAX = 512;

export interface OverlayHead {
  readonly sizeBytes: number;
  /** What the overlay lies over; it means nothing over anything else. */
  readonly base: string;
}

export function encodeOverlayHead({ sizeBytes, base }: OverlayHead): Buffer {
  const head = Buffer.alloc(OVERLAY_BLOCK_SIZE_BYTES);
  const writer = new BinaryWriter().raw(MAGIC).varint(sizeBytes).text(base);
  head.set(writer.finish());
  return head;
}

/** Undefined when these bytes are no head of an overlay. */
export function decodeOverlayHead(bytes: Buffer): OverlayHead | undefined {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const reader = new BinaryReader(bytes.subarray(MAGIC.length), 'overlay');
  return { sizeBytes: reader.varint(), base: reader.text(BASE_SIZE_BYTES_MAX) };
}

export function bitmapSizeBytes(sizeBytes: number): number {
  return Math.ceil(Math.ceil(sizeBytes / OVERLAY_BLOCK_SIZE_BYTES) / 8);
}

/** Where the blocks begin, in bytes. */
export function blocksOffset(sizeBytes: number): number {
  const bitmapEnd = OVERLAY_BLOCK_SIZE_BYTES + bitmapSizeBytes(sizeBytes);
  return Math.ceil(bitmapEnd / OVERLAY_BLOCK_SIZE_BYTES) * OVERLAY_BLOCK_SIZE_BYTES;
}
