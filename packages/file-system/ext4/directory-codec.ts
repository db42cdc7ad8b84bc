/**
 * The names in a block of a folder (kernel documentation, "Directory Entries"). Blocks of the tree
 * of hashes look like blocks with no names in use, so that folders can be read from start to end.
 */
import { CofferError, isFileName } from '@coffer/base';
import { continueCrc32c } from '@coffer/base/crc32c.ts';

export interface DirectoryEntry {
  readonly name: Buffer;
  readonly inode: number;
}

const HEADER_BYTES = 8;
const TAIL_BYTES = 12;
/** A length of 12, no name, and a type that no file has. */
const TAIL_HEADER = 0x0c0000de;

export interface DirectoryForm {
  /** Without file types the length of a name has 16 bits. */
  readonly hasFileTypes: boolean;
}

/** Without `.` and `..`. Fails with `file-system-damaged`. */
export function parseDirectoryBlock(bytes: Buffer, form: DirectoryForm): DirectoryEntry[] {
  const found: DirectoryEntry[] = [];
  for (let offset = 0; offset < bytes.length;) {
    if (offset + HEADER_BYTES > bytes.length) throw damaged('length', offset);
    const inode = bytes.readUInt32LE(offset);
    const length = recordLength(bytes.readUInt16LE(offset + 4), bytes.length);
    const nameBytes = form.hasFileTypes ? bytes[offset + 6]! : bytes.readUInt16LE(offset + 6);
    const isSane = length >= HEADER_BYTES && length % 4 === 0 && offset + length <= bytes.length;
    if (!isSane || HEADER_BYTES + nameBytes > length) throw damaged('length', offset);
    const name = bytes.subarray(offset + HEADER_BYTES, offset + HEADER_BYTES + nameBytes);
    if (inode !== 0 && !isSelfOrParent(name)) {
      if (!isFileName(name)) throw damaged('name', offset);
      found.push({ name, inode });
    }
    offset += length;
  }
  return found;
}

/** True unless the block ends with a checksum that is wrong. Blocks of hashes have another. */
export function isDirectoryBlockWhole(bytes: Buffer, inodeSeed: number): boolean {
  const tail = bytes.length - TAIL_BYTES;
  if (!hasTail(bytes)) return true;
  return continueCrc32c(inodeSeed, bytes.subarray(0, tail)) === bytes.readUInt32LE(tail + 8);
}

/** The tail is the last record; a block that became one of hashes has one, but no record ends there. */
function hasTail(bytes: Buffer): boolean {
  const tail = bytes.length - TAIL_BYTES;
  let offset = 0;
  while (offset < tail) {
    const length = recordLength(bytes.readUInt16LE(offset + 4), bytes.length);
    if (length < HEADER_BYTES) return false;
    offset += length;
  }
  return offset === tail && bytes.readUInt32BE(tail + 4) === TAIL_HEADER;
}

/** Blocks of 64 KiB have records that are longer than 16 bits can say. */
function recordLength(stored: number, blockBytes: number): number {
  if (blockBytes < 65_536) return stored;
  if (stored === 0 || stored === 0xffff) return blockBytes;
  return (stored & 0xfffc) | ((stored & 3) << 16);
}

function isSelfOrParent(name: Buffer): boolean {
  return name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
}

function damaged(reason: string, offset: number): CofferError {
  return new CofferError('file-system-damaged', { structure: 'ext4 folder', reason, offset });
}
