/** Folders: small ones in their inode, others in blocks (xfs_dir2). */
import { requireChecksum } from './checksum-codec.ts';
import type { Fields } from './fields.ts';
import type { Geometry } from './superblock-codec.ts';

export interface FolderEntry {
  readonly name: Buffer;
  readonly inode: bigint;
}

/** The names of one block; `.` and `..` are among those of the first. */
export type FolderEntries = readonly FolderEntry[];

const PARENT_NAME = Buffer.from('..');
const HEADER_BYTES = { old: 16, checked: 64 } as const;
const CRC_AT = 4;
const OWNER_AT = 40;
/** By format: a block that is the whole folder, with its index at the end, and one of several. */
const MAGIC_WHOLE = { old: 'XD2B', checked: 'XDB3' } as const;
const MAGIC_PART = { old: 'XD2D', checked: 'XDD3' } as const;
const INDEX_TAIL_BYTES = 8;
const INDEX_ENTRY_BYTES = 8;
const FREE = 0xffff;
const ALIGNMENT = 8;

/** A small folder has `..` as a number of its head; it is given as a name. */
export function parseSmallFolder(fork: Fields, { hasFileTypes }: Geometry): FolderEntries {
  const count = fork.u8(0);
  const inodeSize = fork.u8(1) > 0 ? 8 : 4;
  const found: FolderEntry[] = [{ name: PARENT_NAME, inode: inodeAt(fork, 2, inodeSize) }];
  let at = 2 + inodeSize;
  for (let index = 0; index < count; index++) {
    const length = fork.u8(at);
    const inode = at + 3 + length + (hasFileTypes ? 1 : 0);
    const name = fork.part(at + 3, length).bytes;
    found.push({ name, inode: inodeAt(fork, inode, inodeSize) });
    at = inode + inodeSize;
  }
  return found;
}

function inodeAt(fork: Fields, at: number, size: 4 | 8): bigint {
  return size === 8 ? fork.u64(at) : BigInt(fork.u32(at));
}

export function parseFolderBlock(
  block: Fields,
  { hasChecksums, hasFileTypes }: Geometry,
  owner: bigint,
): FolderEntries {
  const version = hasChecksums ? 'checked' : 'old';
  const magic = block.bytes.toString('latin1', 0, 4);
  const isWhole = magic === MAGIC_WHOLE[version];
  if (!isWhole && magic !== MAGIC_PART[version]) throw block.damaged('no signature');
  if (hasChecksums) {
    requireChecksum(block, CRC_AT);
    if (block.u64(OWNER_AT) !== owner) throw block.damaged(`it is of inode ${block.u64(OWNER_AT)}`);
  }
  const end = isWhole ? startOfIndex(block) : block.length;
  const found: FolderEntry[] = [];
  for (let at: number = HEADER_BYTES[version]; at < end;) {
    if (block.u16(at) === FREE) {
      const length = block.u16(at + 2);
      if (length === 0 || length % ALIGNMENT !== 0) {
        throw block.damaged(`${length} free bytes at ${at}`);
      }
      at += length;
      continue;
    }
    const length = block.u8(at + 8);
    found.push({ inode: block.u64(at), name: block.part(at + 9, length).bytes });
    // The number, the length, the name, its type, and where the entry began.
    const used = 8 + 1 + length + (hasFileTypes ? 1 : 0) + 2;
    at += Math.ceil(used / ALIGNMENT) * ALIGNMENT;
  }
  return found;
}

function startOfIndex(block: Fields): number {
  const tail = block.length - INDEX_TAIL_BYTES;
  const start = tail - block.u32(tail) * INDEX_ENTRY_BYTES;
  if (start < 0) throw block.damaged('its index is larger than the block');
  return start;
}
