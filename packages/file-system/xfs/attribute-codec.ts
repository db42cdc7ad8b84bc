/** Extended attributes: small ones in the inode, others in blocks (xfs_attr). */
import { requireChecksum } from './checksum-codec.ts';
import type { Fields } from './fields.ts';
import type { Geometry } from './superblock-codec.ts';

export interface Attribute {
  /** With its namespace, as Linux shows it. */
  readonly name: Buffer;
  readonly value: Fields | RemoteValue;
}

/** Where in the fork a value is that has blocks of its own. */
export interface RemoteValue {
  readonly blockIndex: number;
  readonly length: number;
}

export type AttributeBlock =
  | { readonly kind: 'leaf'; readonly attributes: readonly Attribute[]; readonly next: number }
  /** `first` is the block with the lowest names below this one. */
  | { readonly kind: 'node'; readonly level: number; readonly first: number };

const MAGIC = {
  old: { leaf: 0xfbee, node: 0xfebe },
  checked: { leaf: 0x3bee, node: 0x3ebe },
} as const;
const CRC_AT = 12;
const OWNER_AT = 48;
/** Of the blocks: links to neighbours, and with checksums whose it is. */
const INFO_BYTES = { old: 12, checked: 56 } as const;
const LEAF_HEADER_BYTES = { old: 32, checked: 80 } as const;
const NODE_HEADER_BYTES = { old: 16, checked: 64 } as const;
const ENTRY_BYTES = 8;
const VALUE_BYTES_MAX = 64 * 1024;

const LOCAL = 0x01;
const ROOT = 0x02;
const SECURE = 0x04;
const PARENT_POINTER = 0x08;
const INCOMPLETE = 0x80;

const REMOTE_HEADER_BYTES = 56;

export function parseSmallAttributes(fork: Fields): Attribute[] {
  const count = fork.u8(2);
  const found: Attribute[] = [];
  let at = 4;
  for (let index = 0; index < count; index++) {
    const nameLength = fork.u8(at);
    const valueLength = fork.u8(at + 1);
    const name = linuxName(fork.part(at + 3, nameLength).bytes, fork.u8(at + 2));
    const value = fork.part(at + 3 + nameLength, valueLength);
    if (name) found.push({ name, value });
    at += 3 + nameLength + valueLength;
  }
  return found;
}

export function parseAttributeBlock(
  block: Fields,
  { hasChecksums }: Geometry,
  owner: bigint,
): AttributeBlock {
  const version = hasChecksums ? 'checked' : 'old';
  const magic = block.u16(8);
  const isLeaf = magic === MAGIC[version].leaf;
  if (!isLeaf && magic !== MAGIC[version].node) throw block.damaged('no signature');
  if (hasChecksums) {
    requireChecksum(block, CRC_AT);
    if (block.u64(OWNER_AT) !== owner) throw block.damaged(`it is of inode ${block.u64(OWNER_AT)}`);
  }
  const info = INFO_BYTES[version];
  const count = block.u16(info);
  if (isLeaf) {
    const attributes = parseEntries(block, LEAF_HEADER_BYTES[version], count);
    return { kind: 'leaf', attributes, next: block.u32(0) };
  }
  if (count === 0) throw block.damaged('a node without children');
  const first = block.u32(NODE_HEADER_BYTES[version] + 4);
  return { kind: 'node', level: block.u16(info + 2), first };
}

/** Entries are hash, place in the block, and flags. */
function parseEntries(block: Fields, start: number, count: number): Attribute[] {
  const entries = block.part(start, count * ENTRY_BYTES);
  const found: Attribute[] = [];
  for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
    const flags = entries.u8(at + 6);
    const place = block.part(entries.u16(at + 4));
    const attribute = (flags & LOCAL) === 0 ? remote(place, flags) : local(place, flags);
    if (attribute) found.push(attribute);
  }
  return found;
}

function local(place: Fields, flags: number): Attribute | undefined {
  const nameLength = place.u8(2);
  const name = linuxName(place.part(3, nameLength).bytes, flags);
  return name && { name, value: place.part(3 + nameLength, place.u16(0)) };
}

function remote(place: Fields, flags: number): Attribute | undefined {
  const length = place.u32(4);
  const name = linuxName(place.part(9, place.u8(8)).bytes, flags);
  if (name && length > VALUE_BYTES_MAX) throw place.damaged(`a value of ${length} bytes`);
  return name && { name, value: { blockIndex: place.u32(0), length } };
}

/** Undefined for what is not to be seen: names of parents, and what was not written to its end. */
function linuxName(name: Buffer, flags: number): Buffer | undefined {
  if ((flags & (PARENT_POINTER | INCOMPLETE)) !== 0) return undefined;
  if ((flags & SECURE) !== 0) return Buffer.concat([Buffer.from('security.'), name]);
  if ((flags & ROOT) === 0) return Buffer.concat([Buffer.from('user.'), name]);
  const text = name.toString('latin1');
  if (text === 'SGI_ACL_FILE') return Buffer.from('system.posix_acl_access');
  if (text === 'SGI_ACL_DEFAULT') return Buffer.from('system.posix_acl_default');
  return Buffer.concat([Buffer.from('trusted.'), name]);
}

/** With checksums, a block of a value, and an extent of a link, has a header; this is the rest. */
export function parseRemoteBlock(
  block: Fields,
  { owner, offset, magic }: { owner: bigint; offset: number; magic: string },
): Fields {
  if (block.bytes.toString('latin1', 0, 4) !== magic) throw block.damaged('no signature');
  requireChecksum(block, CRC_AT);
  if (block.u64(32) !== owner) throw block.damaged(`it is of inode ${block.u64(32)}`);
  if (block.u32(4) !== offset) throw block.damaged(`it is at ${block.u32(4)}, not at ${offset}`);
  return block.part(REMOTE_HEADER_BYTES, block.u32(8));
}
