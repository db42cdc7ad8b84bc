/**
 * Identity of chunks: the keyed BLAKE3 of their content. Data and nodes are hashed under different
 * keys, so that no data can be taken for a node. FORMAT.md, section 6.
 */
import { deriveKey, DIGEST_SIZE_BYTES, KeyedDigest } from '@coffer/base';

export const CHUNK_ID_SIZE_BYTES = DIGEST_SIZE_BYTES;

/** 32 bytes. */
export type ChunkId = Buffer;

/** Stands for any chunk or subtree of zero bytes only: it has no bytes in the repository. */
export const ZERO_ID: ChunkId = Buffer.alloc(CHUNK_ID_SIZE_BYTES);

export type ChunkKind = 'data' | 'node';

/** The id as the key of a Map or Set. */
export function idKey(id: ChunkId): string {
  return id.toString('latin1');
}

export function isZeroId(id: ChunkId): boolean {
  return id.equals(ZERO_ID);
}

/** Computes ids under the hash key of a repository. */
export class ChunkHasher {
  readonly #data: KeyedDigest;
  readonly #node: KeyedDigest;

  constructor(hashKey: Buffer) {
    this.#data = new KeyedDigest(deriveKey('coffer 1 data chunk id', hashKey));
    this.#node = new KeyedDigest(deriveKey('coffer 1 node id', hashKey));
  }

  data(plain: Buffer): ChunkId {
    return this.#data.of(plain);
  }

  /** `head` is the clear part of the node, `body` its plain body. */
  node(head: Buffer, body: Buffer): ChunkId {
    return this.#node.of(head, body);
  }
}

/** True when all bytes are zero. */
export function isZero(bytes: Buffer): boolean {
  // Most data differs in its first bytes; only what does not is compared whole.
  if (bytes.length === 0 || bytes[0] !== 0 || bytes[bytes.length - 1] !== 0) return false;
  for (let offset = 0; offset < bytes.length; offset += ZEROES.length) {
    const end = Math.min(bytes.length, offset + ZEROES.length);
    if (ZEROES.compare(bytes, offset, end, 0, end - offset) !== 0) return false;
  }
  return true;
}

const ZEROES = Buffer.alloc(64 * 1024);
