/**
 * Sealing of chunks: compression when it helps, then AES-256-GCM under the key of the pack. The
 * nonce is the chunk's ordinal in the pack it was first written to; id, kind and compression are
 * associated data, so a chunk can be moved to another pack, and cannot be passed off as another.
 * FORMAT.md, section 7.
 */
import { assert, CofferError } from '@coffer/base';
import { AesGcm, GCM_NONCE_SIZE_BYTES, GCM_TAG_SIZE_BYTES } from '@coffer/base/aes-gcm.ts';
import type { ChunkId, ChunkKind } from './chunk-id.ts';
import { compress, decompressInto } from './compression.ts';

/** What sealing adds at most; compression is used only when it makes the chunk smaller. */
export const SEAL_OVERHEAD_BYTES = GCM_TAG_SIZE_BYTES;

/** How a chunk was sealed: what is needed besides the key to open it. */
export interface Seal {
  readonly id: ChunkId;
  readonly kind: ChunkKind;
  readonly ordinal: number;
  readonly compressed: boolean;
  readonly plainLength: number;
}

export interface ChunkToSeal {
  readonly id: ChunkId;
  readonly kind: ChunkKind;
  readonly ordinal: number;
  readonly plain: Buffer;
}

const cipher = new AesGcm();
let scratch: Buffer = Buffer.alloc(0);

/** Seals a chunk into `target`; returns how, and the length of what was written. */
export function sealChunk(
  packKey: Buffer,
  { id, kind, ordinal, plain }: ChunkToSeal,
  target: Buffer,
): { readonly seal: Seal; readonly length: number } {
  const smaller = compress(plain);
  const seal = { id, kind, ordinal, compressed: smaller !== undefined, plainLength: plain.length };
  return { seal, length: cipher.seal(messageOf(packKey, seal), smaller ?? plain, target) };
}

/** The plain bytes of a sealed chunk; fails with `chunk-damaged` when anything was altered. */
export function openChunk(packKey: Buffer, seal: Seal, sealed: Buffer): Buffer {
  const plain = Buffer.allocUnsafe(seal.plainLength);
  openChunkInto(packKey, seal, sealed, plain);
  return plain;
}

/** The same into `plain`, which is as long as the chunk. After a failure it holds anything. */
export function openChunkInto(packKey: Buffer, seal: Seal, sealed: Buffer, plain: Buffer): void {
  assert(plain.length === seal.plainLength, 'there is room for exactly the chunk');
  const openedLength = sealed.length - GCM_TAG_SIZE_BYTES;
  if (openedLength < 0) throw damaged(seal, 'it is too short');
  if (!seal.compressed && openedLength !== plain.length) {
    throw damaged(seal, 'its length is not as recorded');
  }
  const opened = seal.compressed ? scratchOf(openedLength) : plain;
  if (!cipher.open(messageOf(packKey, seal), sealed, opened)) {
    throw damaged(seal, 'its seal is broken');
  }
  if (seal.compressed) decompressInto(opened, plain);
}

function scratchOf(length: number): Buffer {
  if (scratch.length < length) scratch = Buffer.allocUnsafeSlow(length);
  return scratch.subarray(0, length);
}

function damaged(seal: Seal, reason: string): CofferError {
  return new CofferError('chunk-damaged', { chunk: seal.id.toString('hex'), reason });
}

function messageOf(
  key: Buffer,
  seal: Seal,
): { readonly key: Buffer; readonly nonce: Buffer; readonly associated: Buffer } {
  const nonce = Buffer.alloc(GCM_NONCE_SIZE_BYTES);
  nonce.writeUInt32LE(seal.ordinal, 0);
  const associated = Buffer.allocUnsafe(seal.id.length + 2);
  associated.set(seal.id, 0);
  associated[seal.id.length] = seal.kind === 'node' ? 1 : 0;
  associated[seal.id.length + 1] = seal.compressed ? 1 : 0;
  return { key, nonce, associated };
}
