/**
 * Which part of the file belongs to which structure: one bit for each MiB, since all structures begin
 * at a multiple of it ([MS-VHDX] 2.1). Two that lie in each other mean that the file is damaged, and
 * that a write to one would damage the other.
 */
import { damaged, type Place, unsupported } from './damage.ts';
import { ALIGNMENT_BYTES, BLOCK_BYTES_MAX, FILE_BYTES_MAX } from './sizes.ts';

export class SpaceMap {
  readonly #fileSizeBytes: number;
  readonly #bits: Uint8Array;
  #endOffset = 0;

  /** `place` is what is said of a file that is too large for a map. */
  constructor(fileSizeBytes: number, place: Place) {
    if (fileSizeBytes > FILE_BYTES_MAX) throw unsupported(place, `${fileSizeBytes} bytes`);
    this.#fileSizeBytes = fileSizeBytes;
    const units = Math.ceil((fileSizeBytes + BLOCK_BYTES_MAX) / ALIGNMENT_BYTES);
    this.#bits = new Uint8Array(Math.ceil(units / 8));
  }

  /** The end of the last structure, in bytes. */
  get endOffset(): number {
    return this.#endOffset;
  }

  /**
   * Claims a range for a structure, of which `neededLength` must be in the file: the last block may
   * be cut where the disk ends. Returns what is wrong with it.
   */
  claim(offset: number, length: number, neededLength = length): string | undefined {
    const end = offset + neededLength;
    if (end > this.#fileSizeBytes) return `it ends at ${end}, beyond the end of the file`;
    const last = (offset + length) / ALIGNMENT_BYTES;
    for (let unit = offset / ALIGNMENT_BYTES; unit < last; unit++) {
      const bit = 1 << (unit & 7);
      if ((this.#bits[unit >>> 3]! & bit) !== 0) return 'it overlaps another structure';
      this.#bits[unit >>> 3]! |= bit;
    }
    this.#endOffset = Math.max(this.#endOffset, offset + length);
    return undefined;
  }

  /** The same, and fails with `image-damaged`. */
  claimRegion(place: Place, length: number): void {
    const problem = this.claim(place.offset, length);
    if (problem !== undefined) throw damaged(place, problem);
  }
}
