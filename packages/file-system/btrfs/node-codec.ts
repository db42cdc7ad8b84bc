/** Blocks of trees: `struct btrfs_header`, then items in a leaf, or pointers in a node. */
import { Fields } from './fields.ts';
import { compareKeys, type Key, KEY_BYTES, parseKey } from './key-codec.ts';
import type { BlockPointer } from './superblock-codec.ts';

const HEADER_BYTES = 101;
/** `struct btrfs_item`: a key, the offset behind the header and the size of the data. */
const ITEM_BYTES = KEY_BYTES + 8;
/** `struct btrfs_key_ptr`: a key, an address and a generation. */
const POINTER_BYTES = KEY_BYTES + 16;
/** `BTRFS_MAX_LEVEL` is 8: levels are 0 to 7. */
export const LEVEL_MAX = 7;

export interface Item {
  readonly key: Key;
  readonly body: Fields;
}

export type TreeBlock =
  | { readonly form: 'leaf'; readonly keys: readonly Key[]; readonly items: readonly Item[] }
  | {
      readonly form: 'node';
      readonly keys: readonly Key[];
      readonly children: readonly BlockPointer[];
    };

/** Fails with `file-system-damaged` where the block is not what the pointer says, or out of order. */
export function parseTreeBlock(bytes: Buffer, pointer: BlockPointer): TreeBlock {
  const fields = new Fields(bytes, 'tree block', pointer.address);
  if (fields.size64(48) !== pointer.address) throw fields.damaged('it belongs elsewhere');
  if (fields.u64(80) !== pointer.generation) throw fields.damaged('it is of another generation');
  const level = fields.u8(100);
  if (level !== pointer.level || level > LEVEL_MAX) throw fields.damaged(`level ${level}`);
  const count = fields.u32(96);
  const eachBytes = level === 0 ? ITEM_BYTES : POINTER_BYTES;
  if (count * eachBytes > bytes.length - HEADER_BYTES) throw fields.damaged(`${count} items`);
  const places = Array.from({ length: count }, (_, index) => HEADER_BYTES + index * eachBytes);
  const keys = places.map((at) => parseKey(fields, at));
  requireOrder(fields, keys);
  if (level > 0) {
    if (count === 0) throw fields.damaged('a node without children');
    return { form: 'node', keys, children: places.map((at) => parsePointer(fields, at, level)) };
  }
  const items = places.map((at, index) => ({ key: keys[index]!, body: parseBody(fields, at) }));
  return { form: 'leaf', keys, items };
}

/** Strict order keeps a walk from coming to a block twice. */
function requireOrder(fields: Fields, keys: readonly Key[]): void {
  for (let index = 1; index < keys.length; index++) {
    if (compareKeys(keys[index - 1]!, keys[index]!) >= 0) throw fields.damaged('out of order');
  }
}

function parsePointer(fields: Fields, at: number, level: number): BlockPointer {
  const address = fields.size64(at + KEY_BYTES);
  return { address, generation: fields.u64(at + KEY_BYTES + 8), level: level - 1 };
}

function parseBody(fields: Fields, at: number): Fields {
  const offset = HEADER_BYTES + fields.u32(at + KEY_BYTES);
  return fields.part(offset, fields.u32(at + KEY_BYTES + 4), 'tree item');
}
