/** A segment of an encrypted volume as the disk that is in it. */
import type { Disk, Extent } from '@coffer/disk/disk.ts';
import { rangeDisk } from '../volumes/range-disk.ts';
import { SECTOR_BYTES, type Segment } from './header.ts';
import { createSectorCipher } from './sector-cipher.ts';

/** What is decrypted at once: no more memory than that for each read, and a fraction of a ms. */
const PIECE_BYTES = 256 * 1024;

/** Reads stay within the segment. Closing it does not close the disk. */
export function decryptedDisk(disk: Disk, segment: Segment, key: Buffer): Disk {
  const { range, sectorBytes, firstSector } = segment;
  const encrypted = rangeDisk(disk, range);
  const cipher = createSectorCipher(segment.cipher, key, sectorBytes);

  /** The plain bytes of the sectors that hold bytes `from` up to `to`, and where they begin. */
  async function sectors(from: number, to: number): Promise<{ start: number; plain: Buffer }> {
    const start = from - (from % sectorBytes);
    const end = Math.ceil(to / sectorBytes) * sectorBytes;
    const bytes = Buffer.allocUnsafeSlow(end - start);
    await encrypted.read(start, bytes);
    return { start, plain: cipher.decrypt(bytes, firstSector + start / SECTOR_BYTES) };
  }

  return {
    sizeBytes: range.length,
    async read(offset, target) {
      const end = offset + target.length;
      for (let from = offset; from < end;) {
        const to = Math.min(end, from - (from % PIECE_BYTES) + PIECE_BYTES);
        const { start, plain } = await sectors(from, to);
        target.set(plain.subarray(from - start, to - start), from - offset);
        from = to;
      }
    },
    // What reads as zeroes when it is encrypted does not when it is decrypted.
    *extents(part = { offset: 0, length: range.length }): Iterable<Extent> {
      if (part.length > 0) yield { ...part, kind: 'data' };
    },
    close: async () => {},
  };
}
