/**
 * What the sizes of sealed chunks tell. They stand in clear, so that who has no key can collect garbage
 * and copy; and how small a chunk compresses, everybody can tell who knows it. Padding leaves of a size
 * its class. FORMAT.md, section 7.
 */

/**
 * `none`: sizes are as they are. `classes`: of each size, its class is told, for a sixteenth more at
 * most. `full`: nothing is compressed either, so that sizes tell nothing of
 * what a chunk holds but how much of it there is.
 */
export const PADDINGS = ['none', 'classes', 'full'] as const;
export type Padding = (typeof PADDINGS)[number];

/** Below this, all sizes are one class. */
const SMALLEST_CLASS_BYTES = 256;
/** Of the bits of a size, so many tell its class: five, from the highest one on. */
const CLASS_BITS = 5;

/** The end of the class of a size: 16 classes between a power of two and the next, itself the last. */
export function paddedSize(sizeBytes: number): number {
  if (sizeBytes <= SMALLEST_CLASS_BYTES) return SMALLEST_CLASS_BYTES;
  const bits = 32 - Math.clz32(sizeBytes);
  const stepBytes = 2 ** (bits - CLASS_BITS);
  return Math.ceil(sizeBytes / stepBytes) * stepBytes;
}
