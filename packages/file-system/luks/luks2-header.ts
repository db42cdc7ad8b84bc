/** Which of the two copies of a LUKS2 header counts: LUKS2 on-disk format specification, 2.2. */
import { type CofferError, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { damaged } from './failures.ts';
import type { LuksHeader } from './header.ts';
import {
  type BinaryHeader,
  LUKS2_BINARY_BYTES,
  LUKS2_HEADER_BYTES,
  metadataOf,
  parseBinaryHeader,
} from './luks2-binary-codec.ts';
import { parseLuks2Metadata } from './luks2-metadata-codec.ts';

interface Copy extends BinaryHeader {
  readonly metadata: Buffer;
}

/**
 * Reads the newest copy that is whole. Fails with `file-system-damaged` when none is, and with
 * `file-system-unsupported`.
 */
export async function readLuks2Header(disk: Disk): Promise<LuksHeader> {
  const copies = await readCopies(disk);
  let damage: CofferError | undefined;
  for (const { offset, metadata } of copies) {
    const place = { offset: offset + LUKS2_BINARY_BYTES, volumeBytes: disk.sizeBytes };
    try {
      return parseLuks2Metadata(metadata, place);
    } catch (error) {
      // What the newest uses and is not understood, an older copy may not know of.
      if (!isCofferError(error, 'file-system-damaged')) throw error;
      damage ??= error;
    }
  }
  throw damage ?? damaged('LUKS2 header', 0, 'no copy is whole');
}

/** The newest first; fails when there is none. */
async function readCopies(disk: Disk): Promise<Copy[]> {
  const first = await readCopyOrError(disk, 0);
  if (!isCofferError(first)) {
    const second = await readCopyOrError(disk, first.headerBytes);
    if (isCofferError(second)) return [first];
    return second.sequence > first.sequence ? [second, first] : [first, second];
  }
  // Where the first copy is lost, so is its size, by which the second is found.
  for (const offset of LUKS2_HEADER_BYTES) {
    const second = await readCopyOrError(disk, offset);
    if (!isCofferError(second)) return [second];
  }
  throw first;
}

async function readCopyOrError(disk: Disk, offset: number): Promise<Copy | CofferError> {
  try {
    const header = parseBinaryHeader(await readAt(disk, offset, LUKS2_BINARY_BYTES), offset);
    const bytes = await readAt(disk, offset, header.headerBytes);
    return { ...header, metadata: metadataOf(bytes, header) };
  } catch (error) {
    if (isCofferError(error, 'file-system-damaged')) return error;
    if (isCofferError(error, 'file-system-unsupported')) return error;
    throw error;
  }
}

async function readAt(disk: Disk, offset: number, length: number): Promise<Buffer> {
  if (offset + length > disk.sizeBytes) throw damaged('LUKS2 header', offset, 'cut');
  const bytes = Buffer.alloc(length);
  await disk.read(offset, bytes);
  return bytes;
}
