/** Disks for tests of readers: bytes in memory, and bytes of which some are changed. */
import { CofferError } from '@coffer/base';
import type { Disk, Extent } from '@coffer/disk/disk.ts';

/** A disk of these bytes. Reads beyond the end fail as those of a cut image do. */
export function memoryDisk(bytes: Buffer): Disk {
  return {
    sizeBytes: bytes.length,
    async read(offset, target) {
      if (!Number.isSafeInteger(offset) || offset < 0 || offset + target.length > bytes.length) {
        throw new CofferError('source-changed', { offset, endsAt: bytes.length });
      }
      bytes.copy(target, 0, offset, offset + target.length);
    },
    *extents(range = { offset: 0, length: bytes.length }): Iterable<Extent> {
      if (range.length > 0) yield { ...range, kind: 'data' };
    },
    async close() {},
  };
}

/** Bytes that replace those of a disk. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** The disk with other bytes at some places; `readBytesMax` bounds what may be read of it. */
export function patchedDisk(
  disk: Disk,
  patches: readonly Patch[],
  readBytesMax = Number.MAX_SAFE_INTEGER,
): Disk {
  let readBytes = 0;
  return {
    sizeBytes: disk.sizeBytes,
    async read(offset, target) {
      readBytes += target.length;
      if (readBytes > readBytesMax) throw new Error(`a reader read ${readBytes} bytes`);
      await disk.read(offset, target);
      for (const patch of patches) applyPatch(patch, offset, target);
    },
    extents: (range) => disk.extents(range),
    close: async () => {},
  };
}

function applyPatch({ offset, bytes }: Patch, start: number, target: Uint8Array): void {
  const from = Math.max(offset, start);
  const to = Math.min(offset + bytes.length, start + target.length);
  if (from < to) target.set(bytes.subarray(from - offset, to - offset), from - start);
}
