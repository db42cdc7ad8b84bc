/**
 * Nodes: child ids and a tag in clear, then a sealed body. Who holds no key can walk the tree, sees
 * that it is the true one, and learns of it nothing but its shape. FORMAT.md, section 11.
 */
import { assert, CofferError, DIGEST_SIZE_BYTES } from '@coffer/base';
import { CHUNK_ID_SIZE_BYTES, type ChunkId, nodeId } from '../chunk/chunk-id.ts';

/** Children of one node: enough for a folder's page and far below the limit of a record. */
export const NODE_CHILDREN_MAX = 65_536;

/** The clear head: the number of children, then their ids. */
export function encodeNodeHead(children: readonly ChunkId[]): Buffer {
  const areIds = children.every(({ length }) => length === CHUNK_ID_SIZE_BYTES);
  assert(areIds && children.length <= NODE_CHILDREN_MAX, 'children can be read again');
  const head = Buffer.allocUnsafe(4 + children.length * CHUNK_ID_SIZE_BYTES);
  head.writeUInt32LE(children.length, 0);
  children.forEach((child, index) => head.set(child, 4 + index * CHUNK_ID_SIZE_BYTES));
  return head;
}

/** A node's record, in parts. */
export interface NodeRecord {
  /** The children, as they stand there. */
  readonly head: Buffer;
  readonly tag: Buffer;
  readonly sealedBody: Buffer;
}

/** What of a node comes before its sealed body. */
export function encodeNodeClear(head: Buffer, tag: Buffer): Buffer {
  return Buffer.concat([head, tag]);
}

/** Fails with `chunk-damaged`, also when the children are not those that the id promises. */
export function splitNodeRecord(id: ChunkId, record: Buffer): NodeRecord {
  const headLength = nodeHeadLength(record);
  const clearLength = headLength + DIGEST_SIZE_BYTES;
  if (clearLength > record.length) throw damaged('it is too short');
  const head = record.subarray(0, headLength);
  const tag = record.subarray(headLength, clearLength);
  if (!nodeId(head, tag).equals(id)) throw damaged('its children are not those of its id');
  return { head, tag, sealedBody: record.subarray(clearLength) };
}

/** Length of the list of children. Fails with `chunk-damaged`. */
export function nodeHeadLength(record: Buffer): number {
  const childCount = record.length < 4 ? 0 : record.readUInt32LE(0);
  const length = 4 + childCount * CHUNK_ID_SIZE_BYTES;
  if (childCount > NODE_CHILDREN_MAX || length > record.length) {
    throw damaged('its list of children is impossible');
  }
  return length;
}

/** The children of a node, which are readable without a key. */
export function decodeNodeHead(record: Buffer): ChunkId[] {
  const end = nodeHeadLength(record);
  const children: ChunkId[] = [];
  for (let offset = 4; offset < end; offset += CHUNK_ID_SIZE_BYTES) {
    children.push(record.subarray(offset, offset + CHUNK_ID_SIZE_BYTES));
  }
  return children;
}

function damaged(reason: string): CofferError {
  return new CofferError('chunk-damaged', { reason });
}
