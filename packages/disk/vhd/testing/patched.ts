/** Images with changed bytes whose checksums are right nevertheless, to come past them. */
import { checksumOf } from '../checksum.ts';

const FOOTER_BYTES = 512;
const HEADER_BYTES = 1024;
export const HEADER_AT = 512;

export interface Patch {
  /** Which structure of an image that Coffer made. */
  readonly of: 'footer' | 'copy' | 'header' | 'file';
  readonly at: number;
  readonly bytes: Uint8Array | string;
}

/** Applies patches at offsets of their structures; `footer` is changed at both of its places. */
export function patched(image: Uint8Array, ...patches: readonly Patch[]): Buffer {
  const bytes = Buffer.from(image);
  for (const patch of patches) {
    for (const start of placesOf(patch.of, bytes.length)) {
      bytes.set(Buffer.from(patch.bytes), start + patch.at);
    }
  }
  return withChecksums(bytes);
}

export function withChecksums(image: Uint8Array): Buffer {
  const bytes = Buffer.from(image);
  seal(bytes.subarray(bytes.length - FOOTER_BYTES), 64);
  if (bytes.toString('latin1', 0, 8) === 'conectix') {
    seal(bytes.subarray(0, FOOTER_BYTES), 64);
    seal(bytes.subarray(HEADER_AT, HEADER_AT + HEADER_BYTES), 36);
  }
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

function placesOf(structure: Patch['of'], sizeBytes: number): number[] {
  switch (structure) {
    case 'footer':
      return [0, sizeBytes - FOOTER_BYTES];
    case 'copy':
    case 'file':
      return [0];
    case 'header':
      return [HEADER_AT];
  }
}

function seal(structure: Buffer, fieldOffset: number): void {
  structure.writeUInt32BE(checksumOf(structure, fieldOffset), fieldOffset);
}
