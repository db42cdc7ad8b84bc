/** The extents of a disk as `base:allocation` tells them. */
import type { ByteRange, Disk } from '../disk.ts';
import { ALLOCATION } from './protocol.ts';
import type { StatusDescriptor } from './transmission-codec.ts';

/** A reply has no more; the client asks again from where it ended. */
const DESCRIPTORS_MAX = 4096;

/** Neighbours of one kind are one descriptor. */
export async function allocationOf(
  disk: Disk,
  range: ByteRange,
  onlyOne: boolean,
): Promise<StatusDescriptor[]> {
  const descriptors: { length: number; flags: number }[] = [];
  for await (const { length, kind } of disk.extents(range)) {
    const flags = kind === 'zero' ? ALLOCATION.hole | ALLOCATION.zero : 0;
    const last = descriptors.at(-1);
    if (last?.flags === flags) last.length += length;
    else if (descriptors.length === (onlyOne ? 1 : DESCRIPTORS_MAX)) break;
    else descriptors.push({ length, flags });
  }
  return descriptors;
}
