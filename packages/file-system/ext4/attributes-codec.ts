/** Extended attributes, in an inode or in a block (kernel documentation, "Extended Attributes"). */
import { CofferError } from '@coffer/base';
import { continueCrc32c } from '@coffer/base/crc32c.ts';

/** An attribute as it is stored. */
export interface StoredAttribute {
  /** Which kind of name it is; the kinds are numbered. */
  readonly nameIndex: number;
  readonly name: Buffer;
  /** Where the value is, when it is not in an inode of its own. */
  readonly value: Buffer;
  /** The inode that holds the value; 0 where `value` does. */
  readonly valueInode: number;
  readonly valueBytes: number;
}

/** The kinds of names that Linux shows, and how it begins them. */
const PREFIXES: Readonly<Record<number, string>> = {
  1: 'user.',
  2: 'system.posix_acl_access',
  3: 'system.posix_acl_default',
  4: 'trusted.',
  6: 'security.',
  7: 'system.',
  8: 'system.richacl',
};
const ACL_KINDS: readonly number[] = [2, 3];
const SYSTEM_KIND = 7;

const MAGIC = 0xea020000;
const BLOCK_HEADER_BYTES = 32;
const ENTRY_BYTES = 16;
/** Linux takes no larger value. */
const VALUE_BYTES_MAX = 65_536;

export function isAcl({ nameIndex }: StoredAttribute): boolean {
  return ACL_KINDS.includes(nameIndex);
}

/** True for the one that holds the rest of a file's content, where that is in the inode. */
export function isInlineData({ nameIndex, name }: StoredAttribute): boolean {
  return nameIndex === SYSTEM_KIND && name.toString('latin1') === 'data';
}

/** The whole name; undefined for kinds that are not shown. */
export function shownName(attribute: StoredAttribute): Buffer | undefined {
  const prefix = PREFIXES[attribute.nameIndex];
  if (prefix === undefined || isInlineData(attribute)) return undefined;
  return Buffer.concat([Buffer.from(prefix), attribute.name]);
}

/** Those behind the fields of an inode; places of values count from behind the magic number. */
export function parseInodeAttributes(bytes: Buffer): StoredAttribute[] {
  if (bytes.length < 8 || bytes.readUInt32LE(0) !== MAGIC) return [];
  const entries = bytes.subarray(4);
  return parseEntries(entries, entries);
}

/** Those in a block; places of values count from its start. Fails with `file-system-damaged`. */
export function parseAttributeBlock(bytes: Buffer): StoredAttribute[] {
  if (bytes.readUInt32LE(0) !== MAGIC || bytes.readUInt32LE(8) !== 1) throw damaged('header');
  return parseEntries(bytes.subarray(BLOCK_HEADER_BYTES), bytes);
}

export function isAttributeBlockWhole(bytes: Buffer, seed: number, blockIndex: number): boolean {
  const copy = Buffer.from(bytes);
  copy.writeUInt32LE(0, 16);
  const place = Buffer.alloc(8);
  place.writeBigUInt64LE(BigInt(blockIndex));
  return continueCrc32c(continueCrc32c(seed, place), copy) === bytes.readUInt32LE(16);
}

function parseEntries(entries: Buffer, values: Buffer): StoredAttribute[] {
  const found: StoredAttribute[] = [];
  for (let offset = 0; offset + 4 <= entries.length && entries.readUInt32LE(offset) !== 0;) {
    if (offset + ENTRY_BYTES > entries.length) throw damaged('entry');
    const nameBytes = entries[offset]!;
    const end = offset + ENTRY_BYTES + nameBytes;
    if (end > entries.length) throw damaged('name');
    const valueInode = entries.readUInt32LE(offset + 4);
    const valueBytes = entries.readUInt32LE(offset + 8);
    const start = entries.readUInt16LE(offset + 2);
    const isInside = valueInode !== 0 || start + valueBytes <= values.length;
    if (valueBytes > VALUE_BYTES_MAX || !isInside) throw damaged('value');
    found.push({
      nameIndex: entries[offset + 1]!,
      name: entries.subarray(offset + ENTRY_BYTES, end),
      value: valueInode === 0 ? values.subarray(start, start + valueBytes) : Buffer.alloc(0),
      valueInode,
      valueBytes,
    });
    offset = Math.ceil(end / 4) * 4;
  }
  return found;
}

function damaged(reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'ext4 attributes', reason });
}
