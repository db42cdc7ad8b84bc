/**
 * The names in an open folder, and what they are, in one piece of work for a thread. It is given over
 * as bytes: a look at each name costs less than an object that crosses between threads.
 */
import { isSystemError } from '@coffer/base/errors.ts';
import {
  type FileStats,
  isFolderAt,
  namesIn,
  putStatsAt,
  STATS_SIZE_BYTES,
  statsAt,
} from '@coffer/base/folder-calls.ts';

/** A look at so many names takes 0.1 s; later ones are looked at when their turn comes. */
const LOOKS_MAX = 16_384;

export interface FolderListing {
  /** In the order of their bytes, joined by what no name has. */
  readonly names: Uint8Array<ArrayBuffer>;
  /** Of the first names, one after the other. */
  readonly stats: Uint8Array<ArrayBuffer>;
}

const SLASH = 0x2f;

/** Undefined where the names cannot be read. */
export function listFolder(folder: number): FolderListing | undefined {
  try {
    const names = namesIn(folder);
    const looks = Math.min(names.length, LOOKS_MAX);
    const stats = Buffer.from(new ArrayBuffer(looks * STATS_SIZE_BYTES));
    for (let index = 0; index < looks; index++) {
      putStatsAt(folder, names[index]!, stats, index * STATS_SIZE_BYTES);
    }
    return { names: joined(names), stats };
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}

/** In memory of its own, which can be given to another thread. */
function joined(names: readonly Buffer[]): Buffer<ArrayBuffer> {
  const sizeBytes = names.reduce((sum, { length }) => sum + length + 1, 0);
  const bytes = Buffer.from(new ArrayBuffer(sizeBytes)).fill(SLASH);
  let end = 0;
  for (const name of names) end += name.copy(bytes, end) + 1;
  return bytes;
}

export function namesOf({ names: bytes }: FolderListing): Buffer[] {
  const all = asBuffer(bytes);
  const names: Buffer[] = [];
  for (let start = 0; start < all.length;) {
    const end = all.indexOf(SLASH, start);
    names.push(all.subarray(start, end));
    start = end + 1;
  }
  return names;
}

/** Undefined for what was not looked at, or could not be. */
export function statsIn({ stats }: FolderListing, index: number): FileStats | undefined {
  const offset = index * STATS_SIZE_BYTES;
  return offset < stats.length ? statsAt(asBuffer(stats), offset) : undefined;
}

/** At less cost than `statsIn`; false for what was not looked at. */
export function isFolderIn({ stats }: FolderListing, index: number): boolean {
  const offset = index * STATS_SIZE_BYTES;
  return offset < stats.length && isFolderAt(asBuffer(stats), offset);
}

function asBuffer({ buffer, byteOffset, length }: Uint8Array<ArrayBuffer>): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
