/**
 * A read cache in front of a disk: readers of file systems ask for many small structures that lie
 * near each other, and a recovery point or a server answers each in milliseconds.
 */
import { CofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';

/** What is read at once. Larger reads are contents of files, and pass by the cache. */
const BLOCK_BYTES = 64 * 1024;
const CACHE_BYTES_MAX = 32 * 1024 * 1024;

/**
 * Keeps what was read last, up to `cacheBytesMax`; readers that want one block at once share its
 * read. Reading beyond the end fails with `file-system-damaged`: a structure led there. Closing it
 * closes the disk.
 */
export function cachedDisk(disk: Disk, cacheBytesMax = CACHE_BYTES_MAX): Disk {
  const blockCountMax = Math.max(1, Math.floor(cacheBytesMax / BLOCK_BYTES));
  // In the order of use: a map keeps the order of insertion.
  const blocks = new Map<number, Promise<Buffer>>();

  function block(blockIndex: number): Promise<Buffer> {
    const known = blocks.get(blockIndex);
    if (known) blocks.delete(blockIndex);
    const wanted = known ?? load(blockIndex);
    blocks.set(blockIndex, wanted);
    if (blocks.size > blockCountMax) blocks.delete(blocks.keys().next().value!);
    return wanted;
  }

  async function load(blockIndex: number): Promise<Buffer> {
    const offset = blockIndex * BLOCK_BYTES;
    const bytes = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, disk.sizeBytes - offset));
    try {
      await disk.read(offset, bytes);
      return bytes;
    } catch (error) {
      blocks.delete(blockIndex);
      throw error;
    }
  }

  return {
    sizeBytes: disk.sizeBytes,
    async read(offset, target) {
      requireInside(disk, offset, target.length);
      if (target.length >= BLOCK_BYTES) {
        await disk.read(offset, target);
        return;
      }
      for (let done = 0; done < target.length;) {
        const place = offset + done;
        const bytes = await block(Math.floor(place / BLOCK_BYTES));
        const start = place % BLOCK_BYTES;
        const part = bytes.subarray(start, start + target.length - done);
        target.set(part, done);
        done += part.length;
      }
    },
    extents: (range) => disk.extents(range),
    close: () => disk.close(),
  };
}

function requireInside({ sizeBytes }: Disk, offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && offset >= 0 && offset + length <= sizeBytes) return;
  const reason = 'beyond the end of the volume';
  throw new CofferError('file-system-damaged', { reason, offset, length, sizeBytes });
}
