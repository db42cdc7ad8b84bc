/**
 * Sealing of chunks: compression when it helps, then AES-256-GCM under the key of the pack. The
 * nonce is the chunk's ordinal in the pack it was first written to; id, kind and compression are
 * associated data, so a chunk can be moved to another pack, and cannot be passed off as another.
 * FORMAT.md, section 7.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { CofferError } from '@coffer/base';
import type { ChunkId, ChunkKind } from './chunk-id.ts';
import { compress, decompress } from './compression.ts';

export const TAG_SIZE_BYTES = 16;

/** How a chunk was sealed: what is needed besides the key to open it. */
export interface Seal {
  readonly id: ChunkId;
  readonly kind: ChunkKind;
  readonly ordinal: number;
  readonly compressed: boolean;
  readonly plainLength: number;
}

export interface SealedChunk {
  readonly seal: Seal;
  /** Ciphertext and tag, to be stored one after the other. */
  readonly parts: readonly [Buffer, Buffer];
}

export interface ChunkToSeal {
  readonly id: ChunkId;
  readonly kind: ChunkKind;
  readonly ordinal: number;
  readonly plain: Buffer;
}

export function sealChunk(packKey: Buffer, { id, kind, ordinal, plain }: ChunkToSeal): SealedChunk {
  const smaller = compress(plain);
  const seal = { id, kind, ordinal, compressed: smaller !== undefined, plainLength: plain.length };
  const cipher = createCipheriv('aes-256-gcm', packKey, nonceOf(ordinal));
  cipher.setAAD(associatedData(seal));
  const ciphertext = cipher.update(smaller ?? plain);
  cipher.final();
  return { seal, parts: [ciphertext, cipher.getAuthTag()] };
}

/** The plain bytes of a sealed chunk; fails with `chunk-damaged` when anything was altered. */
export function openChunk(packKey: Buffer, seal: Seal, sealed: Buffer): Buffer {
  const tagStart = sealed.length - TAG_SIZE_BYTES;
  if (tagStart < 0) throw damaged(seal, 'it is too short');
  const decipher = createDecipheriv('aes-256-gcm', packKey, nonceOf(seal.ordinal), {
    authTagLength: TAG_SIZE_BYTES,
  });
  decipher.setAAD(associatedData(seal));
  decipher.setAuthTag(sealed.subarray(tagStart));
  const opened = decipher.update(sealed.subarray(0, tagStart));
  try {
    decipher.final();
  } catch (error) {
    throw damaged(seal, 'its seal is broken', error);
  }
  if (seal.compressed) return decompress(opened, seal.plainLength);
  if (opened.length !== seal.plainLength) throw damaged(seal, 'its length is not as recorded');
  return opened;
}

function damaged(seal: Seal, reason: string, cause?: unknown): CofferError {
  return new CofferError('chunk-damaged', { chunk: seal.id.toString('hex'), reason }, cause);
}

function nonceOf(ordinal: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(ordinal, 0);
  return nonce;
}

function associatedData(seal: Seal): Buffer {
  const data = Buffer.allocUnsafe(seal.id.length + 2);
  data.set(seal.id, 0);
  data[seal.id.length] = seal.kind === 'node' ? 1 : 0;
  data[seal.id.length + 1] = seal.compressed ? 1 : 0;
  return data;
}
