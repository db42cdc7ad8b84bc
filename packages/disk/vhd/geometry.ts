/** Cylinders, heads and sectors of a disk ("Disk Geometry", "Appendix: CHS Calculation"). */
import { SECTOR_BYTES } from './sizes.ts';

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
}

/** The largest that can be told. Readers take it for "see the current size". */
export const GEOMETRY_MAX: Geometry = { cylinders: 65_535, heads: 16, sectorsPerTrack: 255 };

export function sectorsOf({ cylinders, heads, sectorsPerTrack }: Geometry): number {
  return cylinders * heads * sectorsPerTrack;
}

/** The geometry that the specification computes; it often holds fewer sectors than asked for. */
export function geometryOf(sectorCount: number): Geometry {
  const total = Math.min(sectorCount, sectorsOf(GEOMETRY_MAX));
  if (total >= 65_535 * 16 * 63) return shaped(total, 16, 255);
  const heads = Math.max(4, Math.ceil(Math.floor(total / 17) / 1024));
  if (heads <= 16 && Math.floor(total / 17) < heads * 1024) return shaped(total, heads, 17);
  return shaped(total, 16, Math.floor(total / 31) < 16 * 1024 ? 31 : 63);
}

/**
 * The geometry to write for a disk: what the specification computes where it holds the whole disk,
 * and else the largest. Some readers take the geometry for the size, unless it is the largest.
 */
export function geometryToWrite(sizeBytes: number): Geometry {
  const geometry = geometryOf(sizeBytes / SECTOR_BYTES);
  return sectorsOf(geometry) * SECTOR_BYTES === sizeBytes ? geometry : GEOMETRY_MAX;
}

function shaped(total: number, heads: number, sectorsPerTrack: number): Geometry {
  return {
    cylinders: Math.floor(Math.floor(total / sectorsPerTrack) / heads),
    heads,
    sectorsPerTrack,
  };
}
