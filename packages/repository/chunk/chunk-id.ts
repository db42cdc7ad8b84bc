/**
 * Identity of chunks: the keyed BLAKE3 of their content. The last bit of an id says whether it is a
 * node's, so that nobody can pass the one off as the other. The id of a node follows from what of it
 * is in clear: so whoever walks a tree without a key sees that its children are the true ones.
 * FORMAT.md, section 6.
 */
import { deriveKey, DIGEST_SIZE_BYTES, KeyedDigest } from '@coffer/base';

export const CHUNK_ID_SIZE_BYTES = DIGEST_SIZE_BYTES;

/** 32 bytes. */
export type ChunkId = Buffer;

/** Stands for any chunk or subtree of zero bytes only: it has no bytes in the repository. */
export const ZERO_ID: ChunkId = Buffer.alloc(CHUNK_ID_SIZE_BYTES);

export type ChunkKind = 'data' | 'node';

const LAST_BYTE = CHUNK_ID_SIZE_BYTES - 1;

/** What the id is of, whoever says something else. */
export function kindOf(id: ChunkId): ChunkKind {
  return id[LAST_BYTE]! & 1 ? 'node' : 'data';
}

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
  readonly #tag: KeyedDigest;

  constructor(hashKey: Buffer) {
    this.#data = new KeyedDigest(deriveKey('coffer 1 data chunk id', hashKey));
    this.#tag = new KeyedDigest(deriveKey('coffer 1 node tag', hashKey));
  }

  data(plain: Buffer): ChunkId {
    const id = this.#data.of(plain);
    id[LAST_BYTE]! &= 0xfe;
    return id;
  }

  /** `head` are the children of the node, in clear, `body` its plain body. */
  node(head: Buffer, body: Buffer): ChunkId {
    return nodeId(head, this.nodeTag(head, body));
  }

  /** What stands for the body, and for the key, in the id of a node; 32 bytes in clear. */
  nodeTag(head: Buffer, body: Buffer): Buffer {
    return this.#tag.of(head, body);
  }
}

/** It needs no key: the tag says nothing to who has none. */
const nodeIds = new KeyedDigest(deriveKey('coffer 1 node id', Buffer.alloc(0)));

/** The id of a node, as what of it is in clear says. */
export function nodeId(head: Buffer, tag: Buffer): ChunkId {
  const id = nodeIds.of(head, tag);
  id[LAST_BYTE]! |= 1;
  return id;
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
