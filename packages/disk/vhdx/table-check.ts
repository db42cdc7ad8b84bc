/** Checks each entry of the BAT ([MS-VHDX] 2.5.1) once, so that what reads it later can trust it. */
import type { Disk } from '../disk.ts';
import {
  BAT_ENTRY_BYTES,
  type BatEntry,
  type BatLayout,
  BITMAP,
  decodeBatEntry,
  hasReservedBits,
  PAYLOAD,
} from './bat-codec.ts';
import { damaged, type Place, within } from './damage.ts';
import type { DiskParameters } from './metadata-codec.ts';
import { BITMAP_BLOCK_BYTES, HEADER_SECTION_BYTES, MIB } from './sizes.ts';
import type { SpaceMap } from './space-map.ts';

const ENTRIES_AT_ONCE = MIB / BAT_ENTRY_BYTES;

/** Claims the space of all blocks. Fails with `image-damaged`. `place` is that of the BAT. */
export async function checkTable(
  file: Disk,
  parameters: DiskParameters,
  layout: BatLayout,
  space: SpaceMap,
  place: Place,
): Promise<void> {
  const check = new TableCheck(parameters, layout, space);
  const buffer = Buffer.alloc(Math.min(ENTRIES_AT_ONCE, layout.entryCount) * BAT_ENTRY_BYTES);
  for (let first = 0; first < layout.entryCount; first += ENTRIES_AT_ONCE) {
    const count = Math.min(ENTRIES_AT_ONCE, layout.entryCount - first);
    const bytes = buffer.subarray(0, count * BAT_ENTRY_BYTES);
    await file.read(place.offset + first * BAT_ENTRY_BYTES, bytes);
    for (let index = 0; index < count; index++) {
      const problem = check.entry(first + index, bytes, index * BAT_ENTRY_BYTES);
      if (problem === undefined) continue;
      const structure = `BAT entry ${first + index}`;
      const at = (first + index) * BAT_ENTRY_BYTES;
      throw damaged({ ...within(place, at), structure }, problem);
    }
  }
}

class TableCheck {
  readonly #parameters: DiskParameters;
  readonly #layout: BatLayout;
  readonly #space: SpaceMap;
  #blockIndex = 0;
  /** Whether the chunk at hand needs its sector bitmap. */
  #isPartial = false;

  constructor(parameters: DiskParameters, layout: BatLayout, space: SpaceMap) {
    this.#parameters = parameters;
    this.#layout = layout;
    this.#space = space;
  }

  /** What is wrong with the entry, which follows the last one that was checked. */
  entry(index: number, bytes: Buffer, at: number): string | undefined {
    const ratio = this.#layout.chunkRatio;
    const isBitmap = index % (ratio + 1) === ratio;
    // Without a parent they are never used; some versions of qemu leave them in disorder.
    if (isBitmap && !this.#parameters.isDifferencing) return undefined;
    if (hasReservedBits(bytes, at)) return 'reserved bits are set';
    const entry = decodeBatEntry(bytes, at);
    return isBitmap ? this.#bitmap(entry) : this.#payload(entry, this.#blockIndex++);
  }

  #payload({ state, offset }: BatEntry, blockIndex: number): string | undefined {
    const { isDifferencing, blockSizeBytes, sizeBytes } = this.#parameters;
    switch (state) {
      case PAYLOAD.notPresent:
      case PAYLOAD.undefined:
      case PAYLOAD.zero:
      case PAYLOAD.unmapped:
        return undefined;
      case PAYLOAD.partiallyPresent:
        if (!isDifferencing) return 'a partially present block, and no parent';
        this.#isPartial = true;
        break;
      case PAYLOAD.fullyPresent:
        break;
      default:
        return `the state ${state}`;
    }
    if (blockIndex >= this.#layout.blockCount) return 'a block beyond the end of the disk';
    const needed = Math.min(blockSizeBytes, sizeBytes - blockIndex * blockSizeBytes);
    return this.#claim(offset, blockSizeBytes, needed);
  }

  #bitmap({ state, offset }: BatEntry): string | undefined {
    const isNeeded = this.#isPartial;
    this.#isPartial = false;
    if (state === BITMAP.notPresent) {
      return isNeeded ? 'no sector bitmap for a partially present block' : undefined;
    }
    if (state !== BITMAP.present) return `the state ${state}`;
    return this.#claim(offset, BITMAP_BLOCK_BYTES, BITMAP_BLOCK_BYTES);
  }

  #claim(offset: number, length: number, neededLength: number): string | undefined {
    if (offset < HEADER_SECTION_BYTES) return `a block at ${offset}`;
    return this.#space.claim(offset, length, neededLength);
  }
}
