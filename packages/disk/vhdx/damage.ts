/** What is said of an image that cannot be read: which structure, where in the file, and why. */
import { CofferError } from '@coffer/base';

/** A structure of an image file, and the byte offset in the file at which it lies. */
export interface Place {
  readonly path: string;
  readonly structure: string;
  readonly offset: number;
}

export function damaged(place: Place, reason: string): CofferError {
  return new CofferError('image-damaged', { ...place, reason });
}

export function unsupported(place: Place, reason: string): CofferError {
  return new CofferError('image-unsupported', { ...place, reason });
}

/** The place `offset` bytes into the structure. */
export function within(place: Place, offset: number): Place {
  return { ...place, offset: place.offset + offset };
}
