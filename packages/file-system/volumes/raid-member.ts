/** Whether a volume is a member of a software RAID of Linux, which nobody else should make sense of. */
import type { Disk } from '@coffer/disk/disk.ts';

/** `MD_SB_MAGIC` of include/uapi/linux/raid/md_p.h. */
const MAGIC = 0xa92b4efc;
const KIB = 1024;

/**
 * Looks at the places of all versions of the superblock. What was on the volume before may be seen
 * there still, and what is in the array may look like something of its own.
 */
export async function isRaidMember(disk: Disk): Promise<boolean> {
  const { sizeBytes } = disk;
  const places = [
    // 1.1 and 1.2.
    0,
    4 * KIB,
    // 1.0: at least 8 KiB before the end; 0.90: in the last whole 64 KiB.
    Math.floor((sizeBytes - 8 * KIB) / (4 * KIB)) * 4 * KIB,
    (Math.floor(sizeBytes / (64 * KIB)) - 1) * 64 * KIB,
  ];
  const word = Buffer.alloc(4);
  for (const place of places) {
    if (place < 0 || place + word.length > sizeBytes) continue;
    await disk.read(place, word);
    if (word.readUInt32LE() === MAGIC || word.readUInt32BE() === MAGIC) return true;
  }
  return false;
}
