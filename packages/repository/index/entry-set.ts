/**
 * A set of chunks as they lie in packs: one bit for each entry of each pack, so that 40 MB of memory
 * hold the 320 million chunks of 80 TB.
 */
import type { ChunkIndex } from './chunk-index.ts';
import type { Location } from './location.ts';

/** What of one pack is in the set. */
export interface PackUse {
  readonly bits: Uint8Array;
  count: number;
  /** Bytes of the records. */
  bytes: number;
}

type Entry = Pick<Location, 'packNumber' | 'entryIndex'>;

export class EntrySet {
  readonly #index: ChunkIndex;
  readonly #packs = new Map<number, PackUse>();

  constructor(index: ChunkIndex) {
    this.#index = index;
  }

  use(packNumber: number): PackUse | undefined {
    return this.#packs.get(packNumber);
  }

  packNumbers(): Iterable<number> {
    return this.#packs.keys();
  }

  has({ packNumber, entryIndex }: Entry): boolean {
    const bits = this.#packs.get(packNumber)?.bits;
    return bits !== undefined && (bits[entryIndex >> 3]! & (1 << (entryIndex & 7))) !== 0;
  }

  /** False when it was there already. */
  add({ packNumber, entryIndex, length }: Entry & Pick<Location, 'length'>): boolean {
    const use = this.#packs.get(packNumber) ?? this.#newUse(packNumber);
    const bit = 1 << (entryIndex & 7);
    if (use.bits[entryIndex >> 3]! & bit) return false;
    use.bits[entryIndex >> 3]! |= bit;
    use.count++;
    use.bytes += length;
    return true;
  }

  #newUse(packNumber: number): PackUse {
    // A location is looked up and added at once, so its pack is known.
    const { entryCount } = this.#index.requiredPack(packNumber);
    const use = { bits: new Uint8Array((entryCount + 7) >> 3), count: 0, bytes: 0 };
    this.#packs.set(packNumber, use);
    return use;
  }
}
