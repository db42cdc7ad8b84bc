/**
 * Tells where on its disks the content of a file or volume lies, whatever reader knows how to find
 * it. The reader is given a buffer to fill; reads of a disk that go straight into that buffer are
 * noted, and not made. What a reader decompresses or keeps elsewhere has no place in this sense.
 */
import { CofferError } from '@coffer/base';
import type { ByteRange, Disk } from '@coffer/disk/disk.ts';

/** Larger than what caches in front of a disk keep, so that reads come through. */
const PROBE_BYTES = 4 * 1024 * 1024;
/** In all searches together more is not searched: whoever made the disk may want to keep us busy. */
const SEARCHED_BYTES_MAX = 2 ** 39;
/** Who leaves something out remembers all of its places. */
const PLACES_MAX = 4096;
/** What has no place, such as compressed content, is searched slowly, and no swap of any system. */
const PLACELESS_BYTES_MAX = 2 ** 34;

export interface Place extends ByteRange {
  /** Of the disks that were given. */
  readonly diskIndex: number;
}

/** Reads like those of `Disk` and `FileSystem`. */
export type Read = (offset: number, target: Uint8Array) => Promise<unknown>;

export class PlaceFinder {
  /** The disks, as a reader is to see them. */
  readonly disks: readonly Disk[];
  readonly #probe = Buffer.alloc(PROBE_BYTES);
  #found: Place[] = [];
  #searchableBytes = SEARCHED_BYTES_MAX;
  #placesLeft = PLACES_MAX;
  #placelessBytes = PLACELESS_BYTES_MAX;
  #notedBytes = 0;
  readonly #signal: AbortSignal | undefined;

  constructor(disks: readonly Disk[], signal?: AbortSignal) {
    this.#signal = signal;
    this.disks = disks.map((disk, diskIndex) => this.#noting(disk, diskIndex));
  }

  /**
   * Where the bytes from `start` to `end` lie, in their order. One search at a time. Fails with
   * `file-system-unsupported` for what is beyond all measure, and as `read` does.
   */
  async find(read: Read, start: number, end: number): Promise<Place[]> {
    this.#found = [];
    if (end - start > this.#searchableBytes) throw tooMuch(`${end - start} bytes`);
    this.#searchableBytes -= Math.max(0, end - start);
    for (let offset = start; offset < end; offset += PROBE_BYTES) {
      this.#signal?.throwIfAborted();
      const length = Math.min(PROBE_BYTES, end - offset);
      const before = this.#notedBytes;
      await read(offset, this.#probe.subarray(0, length));
      this.#placelessBytes -= length - (this.#notedBytes - before);
      if (this.#placelessBytes < 0) throw tooMuch(`${PLACELESS_BYTES_MAX} bytes without a place`);
    }
    return this.#found;
  }

  #noting(disk: Disk, diskIndex: number): Disk {
    return {
      sizeBytes: disk.sizeBytes,
      read: async (offset, target) => {
        if (target.buffer !== this.#probe.buffer) await disk.read(offset, target);
        else this.#note({ diskIndex, offset, length: target.length });
      },
      extents: (range) => disk.extents(range),
      close: async () => {},
    };
  }

  #note(place: Place): void {
    this.#notedBytes += place.length;
    const last = this.#found.at(-1);
    const isNext =
      last?.diskIndex === place.diskIndex && last.offset + last.length === place.offset;
    if (last && isNext) {
      this.#found[this.#found.length - 1] = joined(last, place);
      return;
    }
    if (this.#placesLeft-- <= 0) throw tooMuch(`${PLACES_MAX} pieces`);
    this.#found.push(place);
  }
}

function joined(last: Place, next: Place): Place {
  return { ...last, length: last.length + next.length };
}

function tooMuch(found: string): CofferError {
  return new CofferError('file-system-unsupported', { structure: 'places of content', found });
}
