/** A disk some of whose blocks are read from elsewhere. */
import type { Disk } from '@coffer/disk/disk.ts';

export interface LaidBlock {
  /** The whole block. */
  read(): Promise<Buffer>;
}

/** The disk with other blocks laid over it, by block number. Closing it closes the disk. */
export function overlaidDisk(
  disk: Disk,
  blockBytes: number,
  laid: ReadonlyMap<number, LaidBlock>,
): Disk {
  return {
    sizeBytes: disk.sizeBytes,
    async read(offset, target) {
      await disk.read(offset, target);
      const end = offset + target.length;
      const first = Math.floor(offset / blockBytes);
      for (let blockIndex = first; blockIndex * blockBytes < end; blockIndex++) {
        const block = laid.get(blockIndex);
        if (!block) continue;
        const start = blockIndex * blockBytes;
        const from = Math.max(offset, start);
        const to = Math.min(end, start + blockBytes);
        const bytes = await block.read();
        target.set(bytes.subarray(from - start, to - start), from - offset);
      }
    },
    // What is laid over a hole is not one.
    *extents(range = { offset: 0, length: disk.sizeBytes }) {
      if (range.length > 0) yield { ...range, kind: 'data' };
    },
    close: () => disk.close(),
  };
}
