/**
 * Sealing of chunks: compression when it helps, padding where the key domain wants it, then AES-256-GCM
 * under the key of the pack. The nonce is the chunk's ordinal in the pack it was first written to; id,
 * kind and form are associated data, so a chunk can be moved to another pack, and cannot be passed off
 * as another. FORMAT.md, section 7.
 */
import { assert, CofferError } from '@coffer/base';
import { AesGcm, GCM_NONCE_SIZE_BYTES, GCM_TAG_SIZE_BYTES } from '@coffer/base/aes-gcm.ts';
import type { ChunkId, ChunkKind } from './chunk-id.ts';
import { compress, decompressInto, type Effort } from './compression.ts';
import { type Padding, paddedSize } from './padding.ts';

/** What sealing adds without padding; compression is used only when it makes the chunk smaller. */
export const SEAL_OVERHEAD_BYTES = GCM_TAG_SIZE_BYTES;

/** In front of what is padded: how long it is, and in the highest bit whether it is compressed. */
const PREFIX_SIZE_BYTES = 4;
const IS_COMPRESSED = 2 ** 31;

/** The most that a chunk takes when it is sealed, whatever the padding. */
export function sealedSizeMax(plainLength: number): number {
  return PREFIX_SIZE_BYTES + paddedSize(plainLength) + SEAL_OVERHEAD_BYTES;
}

/** How a chunk was sealed: what is needed besides the key to open it. */
export interface Seal {
  readonly id: ChunkId;
  readonly kind: ChunkKind;
  readonly ordinal: number;
  readonly compressed: boolean;
  /** Then how long it is, and whether it is compressed, is told inside of the seal. */
  readonly padded: boolean;
  /** Of one that is padded, the end of the class of its length. */
  readonly plainLength: number;
}

/** How long the plain bytes can be; who has read a tree knows. */
export function fitsLength({ padded, plainLength }: Seal, length: number): boolean {
  return plainLength === (padded ? paddedSize(length) : length);
}

export interface ChunkToSeal {
  readonly id: ChunkId;
  readonly kind: ChunkKind;
  readonly ordinal: number;
  readonly plain: Buffer;
}

const cipher = new AesGcm();
let scratch: Buffer = Buffer.alloc(0);

interface Sealed {
  readonly seal: Seal;
  /** Of what was written. */
  readonly length: number;
}

export interface SealOptions {
  readonly padding?: Padding | undefined;
  readonly effort?: Effort | undefined;
}

/** Seals a chunk into `target`, which has room for `sealedSizeMax`. */
export function sealChunk(
  packKey: Buffer,
  chunk: ChunkToSeal,
  target: Buffer,
  { padding = 'none', effort = 0 }: SealOptions = {},
): Sealed {
  if (padding !== 'none') return sealPadded(packKey, chunk, target, { padding, effort });
  const { id, kind, ordinal, plain } = chunk;
  const smaller = compress(plain, effort);
  const facts = { compressed: smaller !== undefined, padded: false, plainLength: plain.length };
  const seal = { id, kind, ordinal, ...facts };
  return { seal, length: cipher.seal(messageOf(packKey, seal), smaller ?? plain, target) };
}

function sealPadded(
  packKey: Buffer,
  { id, kind, ordinal, plain }: ChunkToSeal,
  target: Buffer,
  { padding, effort }: { padding: Exclude<Padding, 'none'>; effort: Effort },
): Sealed {
  const smaller = padding === 'full' ? undefined : compress(plain, effort);
  const content = smaller ?? plain;
  const padded = scratchOf(PREFIX_SIZE_BYTES + paddedSize(content.length));
  padded.writeUInt32LE(content.length + (smaller ? IS_COMPRESSED : 0), 0);
  padded.set(content, PREFIX_SIZE_BYTES);
  padded.fill(0, PREFIX_SIZE_BYTES + content.length);
  const plainLength = paddedSize(plain.length);
  const seal = { id, kind, ordinal, compressed: false, padded: true, plainLength };
  return { seal, length: cipher.seal(messageOf(packKey, seal), padded, target) };
}

/** The plain bytes of a sealed chunk; fails with `chunk-damaged` when anything was altered. */
export function openChunk(packKey: Buffer, seal: Seal, sealed: Buffer): Buffer {
  const plain = Buffer.allocUnsafe(seal.plainLength);
  return plain.subarray(0, openChunkInto(packKey, seal, sealed, plain));
}

/**
 * The same into `plain`, which is as long as the chunk, or longer when that is padded. Returns the
 * length. After a failure it holds anything.
 */
export function openChunkInto(packKey: Buffer, seal: Seal, sealed: Buffer, plain: Buffer): number {
  const openedLength = sealed.length - GCM_TAG_SIZE_BYTES;
  if (openedLength < 0) throw damaged(seal, 'it is too short');
  if (seal.padded) return openPadded(packKey, seal, sealed, plain);
  assert(plain.length === seal.plainLength, 'there is room for exactly the chunk');
  if (!seal.compressed && openedLength !== plain.length) {
    throw damaged(seal, 'its length is not as recorded');
  }
  const opened = seal.compressed ? scratchOf(openedLength) : plain;
  openSeal(packKey, seal, sealed, opened);
  if (seal.compressed) requireLength(seal, decompressInto(opened, plain), plain.length);
  return plain.length;
}

function openPadded(packKey: Buffer, seal: Seal, sealed: Buffer, plain: Buffer): number {
  const opened = scratchOf(sealed.length - GCM_TAG_SIZE_BYTES);
  openSeal(packKey, seal, sealed, opened);
  const prefix = opened.length < PREFIX_SIZE_BYTES ? 0 : opened.readUInt32LE(0);
  const isCompressed = prefix >= IS_COMPRESSED;
  const contentLength = isCompressed ? prefix - IS_COMPRESSED : prefix;
  requireLength(seal, opened.length, PREFIX_SIZE_BYTES + paddedSize(contentLength));
  const content = opened.subarray(PREFIX_SIZE_BYTES, PREFIX_SIZE_BYTES + contentLength);
  if (isCompressed) return decompressInto(content, plain);
  if (content.length > plain.length) throw damaged(seal, 'its length is not as recorded');
  plain.set(content);
  return content.length;
}

function openSeal(packKey: Buffer, seal: Seal, sealed: Buffer, opened: Buffer): void {
  if (cipher.open(messageOf(packKey, seal), sealed, opened)) return;
  throw damaged(seal, 'its seal is broken');
}

function requireLength(seal: Seal, length: number, recorded: number): void {
  if (length !== recorded) throw damaged(seal, 'its length is not as recorded');
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
  associated[seal.id.length + 1] = formOf(seal);
  return { key, nonce, associated };
}

function formOf({ padded, compressed }: Seal): number {
  if (padded) return 2;
  return compressed ? 1 : 0;
}
