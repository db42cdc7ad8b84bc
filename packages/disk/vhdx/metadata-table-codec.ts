/** The metadata table: which items there are, and where in the metadata region ([MS-VHDX] 2.6.1). */
import { damaged, type Place, unsupported, within } from './damage.ts';
import { decodeGuid, encodeGuid } from '../guid-codec.ts';
import { ALIGNMENT_BYTES, MIB, roundUp } from './sizes.ts';

export const METADATA_TABLE_BYTES = 64 * 1024;

const SIGNATURE = 'metadata';
const HEADER_BYTES = 32;
const ENTRY_BYTES = 32;
const ENTRY_COUNT_MAX = 2047;
const ITEM_BYTES_MAX = MIB;
const IS_USER = 1;
const IS_VIRTUAL_DISK = 2;
const IS_REQUIRED = 4;

/** What the table says of an item. */
interface ItemEntry {
  readonly id: string;
  /** Of the user, not of the system. The same id may be used by both. */
  readonly isUser: boolean;
  /** Goes with the disk: a differencing image has it from its parent. */
  readonly isVirtualDisk: boolean;
  /** Who does not know it must not open the image. */
  readonly isRequired: boolean;
}

export interface ItemPlace extends ItemEntry {
  /** From the beginning of the region; zero when the item is empty. */
  readonly offset: number;
  readonly length: number;
}

export interface MetadataItem extends ItemEntry {
  readonly bytes: Buffer;
}

/** Fails with `image-damaged` when an item is not inside of the region, or overlaps another. */
export function decodeMetadataTable(
  bytes: Buffer,
  regionLength: number,
  place: Place,
): readonly ItemPlace[] {
  if (bytes.toString('latin1', 0, SIGNATURE.length) !== SIGNATURE) {
    throw damaged(place, `the signature is not ${SIGNATURE}`);
  }
  const count = bytes.readUInt16LE(10);
  if (count > ENTRY_COUNT_MAX) throw damaged(place, `${count} items`);
  const items = new Map<string, ItemPlace>();
  for (let index = 0; index < count; index++) {
    const start = HEADER_BYTES + index * ENTRY_BYTES;
    const entryPlace = { ...within(place, start), structure: `metadata item ${index}` };
    const item = decodeEntry(bytes.subarray(start, start + ENTRY_BYTES));
    checkItem(item, regionLength, entryPlace);
    const key = `${item.id} ${item.isUser}`;
    if (items.has(key)) throw damaged(entryPlace, `there are two items ${item.id}`);
    items.set(key, item);
  }
  checkApart([...items.values()], place);
  return [...items.values()];
}

/** The whole metadata region. Fails with `image-unsupported` when the items are too many for one. */
export function encodeMetadataRegion(items: readonly MetadataItem[], place: Place): Buffer {
  if (items.length > ENTRY_COUNT_MAX) throw unsupported(place, `${items.length} items`);
  const length = items.reduce((sum, { bytes }) => sum + bytes.length, METADATA_TABLE_BYTES);
  const region = Buffer.alloc(roundUp(length, ALIGNMENT_BYTES));
  region.write(SIGNATURE, 'latin1');
  region.writeUInt16LE(items.length, 10);
  let offset = METADATA_TABLE_BYTES;
  for (const [index, item] of items.entries()) {
    encodeEntry(item, offset).copy(region, HEADER_BYTES + index * ENTRY_BYTES);
    item.bytes.copy(region, offset);
    offset += item.bytes.length;
  }
  return region;
}

function decodeEntry(bytes: Buffer): ItemPlace {
  const flags = bytes.readUInt32LE(24);
  return {
    id: decodeGuid(bytes, 0),
    offset: bytes.readUInt32LE(16),
    length: bytes.readUInt32LE(20),
    isUser: (flags & IS_USER) !== 0,
    isVirtualDisk: (flags & IS_VIRTUAL_DISK) !== 0,
    isRequired: (flags & IS_REQUIRED) !== 0,
  };
}

function encodeEntry({ id, bytes, ...flags }: MetadataItem, offset: number): Buffer {
  const entry = Buffer.alloc(ENTRY_BYTES);
  encodeGuid(id).copy(entry);
  entry.writeUInt32LE(bytes.length === 0 ? 0 : offset, 16);
  entry.writeUInt32LE(bytes.length, 20);
  entry.writeUInt32LE(
    (flags.isUser ? IS_USER : 0) |
      (flags.isVirtualDisk ? IS_VIRTUAL_DISK : 0) |
      (flags.isRequired ? IS_REQUIRED : 0),
    24,
  );
  return entry;
}

function checkItem({ offset, length }: ItemPlace, regionLength: number, place: Place): void {
  if (length > ITEM_BYTES_MAX) throw damaged(place, `${length} bytes`);
  if (length === 0) {
    if (offset !== 0) throw damaged(place, `an empty item at ${offset}`);
    return;
  }
  if (offset < METADATA_TABLE_BYTES || offset + length > regionLength) {
    throw damaged(place, `${length} bytes at ${offset} are not inside of the region`);
  }
}

function checkApart(items: readonly ItemPlace[], place: Place): void {
  const sorted = items.toSorted((a, b) => a.offset - b.offset);
  for (const [index, item] of sorted.entries()) {
    const before = sorted[index - 1];
    if (before && before.offset + before.length > item.offset) {
      throw damaged(within(place, item.offset), `the items ${before.id} and ${item.id} overlap`);
    }
  }
}
