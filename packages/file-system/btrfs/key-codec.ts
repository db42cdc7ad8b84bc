/** Keys of items: `struct btrfs_disk_key`. Trees are in their order. */
import type { Fields } from './fields.ts';

/** Bytes of a key. */
export const KEY_BYTES = 17;

/** Types of items, as far as they are read. */
export const ITEM = {
  inode: 1,
  attribute: 24,
  /** A name by its hash. */
  name: 84,
  /** A name by its place in the folder. */
  nameIndex: 96,
  extent: 108,
  root: 132,
  rootReference: 156,
  chunk: 228,
} as const;

export interface Key {
  readonly objectId: bigint;
  readonly type: number;
  readonly offset: bigint;
}

const OFFSET_MAX = 0xffff_ffff_ffff_ffffn;

export function parseKey(fields: Fields, at: number): Key {
  return { objectId: fields.u64(at), type: fields.u8(at + 8), offset: fields.u64(at + 9) };
}

/** Negative, zero or positive, as for sorting. */
export function compareKeys(a: Key, b: Key): number {
  if (a.objectId !== b.objectId) return a.objectId < b.objectId ? -1 : 1;
  if (a.type !== b.type) return a.type - b.type;
  if (a.offset !== b.offset) return a.offset < b.offset ? -1 : 1;
  return 0;
}

/** The first and the last key that the items of one type of an object can have. */
export function keysOf(objectId: bigint, type: number): readonly [Key, Key] {
  return [
    { objectId, type, offset: 0n },
    { objectId, type, offset: OFFSET_MAX },
  ];
}
