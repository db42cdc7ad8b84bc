/** The index of a large folder: hashes of its names, and where in the folder they are (xfs_da). */
import { requireChecksum } from './checksum-codec.ts';
import type { Fields } from './fields.ts';
import type { Geometry } from './superblock-codec.ts';

export type IndexBlock =
  | { readonly kind: 'leaf'; readonly names: readonly HashedName[]; readonly next: number }
  | { readonly kind: 'node'; readonly level: number; readonly children: readonly HashedBlock[] };

export interface HashedName {
  readonly hash: number;
  /** In bytes of the folder; 0 for a name that was removed. */
  readonly offset: number;
}

/** A block of the folder, and the highest hash in it or below it. */
export interface HashedBlock {
  readonly hash: number;
  readonly blockIndex: number;
}

/** A folder that has one leaf marks it in another way. */
const MAGIC = {
  old: { leaves: [0xd2f1, 0xd2ff], node: 0xfebe },
  checked: { leaves: [0x3df1, 0x3dff], node: 0x3ebe },
} as const;
const CRC_AT = 12;
const OWNER_AT = 48;
const COUNT_AT = { old: 12, checked: 56 } as const;
const ENTRIES_AT = { old: 16, checked: 64 } as const;
const ENTRY_BYTES = 8;
const ADDRESS_UNIT_BYTES = 8;

export function parseIndexBlock(
  block: Fields,
  { hasChecksums }: Geometry,
  owner: bigint,
): IndexBlock {
  const version = hasChecksums ? 'checked' : 'old';
  const magic = block.u16(8);
  const isLeaf = MAGIC[version].leaves.some((some) => some === magic);
  if (!isLeaf && magic !== MAGIC[version].node) throw block.damaged('no signature');
  if (hasChecksums) {
    requireChecksum(block, CRC_AT);
    if (block.u64(OWNER_AT) !== owner) throw block.damaged(`it is of inode ${block.u64(OWNER_AT)}`);
  }
  const count = block.u16(COUNT_AT[version]);
  const entries = block.part(ENTRIES_AT[version], count * ENTRY_BYTES);
  const pairs = Array.from({ length: count }, (_, index) => ({
    hash: entries.u32(index * ENTRY_BYTES),
    value: entries.u32(index * ENTRY_BYTES + 4),
  }));
  if (!isLeaf) {
    const level = block.u16(COUNT_AT[version] + 2);
    return {
      kind: 'node',
      level,
      children: pairs.map(({ hash, value }) => ({ hash, blockIndex: value })),
    };
  }
  return {
    kind: 'leaf',
    names: pairs.map(({ hash, value }) => ({ hash, offset: value * ADDRESS_UNIT_BYTES })),
    next: block.u32(0),
  };
}

/** Four bytes at a time, seven bits each, are joined with what was, turned by as many bits. */
export function nameHash(name: Buffer): number {
  let hash = 0;
  let at = 0;
  for (; at + 4 <= name.length; at += 4) {
    const word = (name[at]! << 21) ^ (name[at + 1]! << 14) ^ (name[at + 2]! << 7) ^ name[at + 3]!;
    hash = word ^ turned(hash, 28);
  }
  const rest = name.subarray(at);
  let word = 0;
  for (const byte of rest) word = (word << 7) ^ byte;
  return (rest.length === 0 ? hash : word ^ turned(hash, 7 * rest.length)) >>> 0;
}

function turned(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
