/**
 * A set of chunks as they lie in packs: one bit for each entry of each pack, so that 40 MB of memory
 * hold the 320 million chunks of 80 TB.
 *
 * Invariant: a pack is known by its name. Its number is of the local index, which another process may
 * change meanwhile: then the same pack is there under another number, or not at all.
 */
import type { ChunkIndex } from './chunk-index.ts';
import type { Location } from './location.ts';

/** What of one pack is in the set. */
export interface PackUse {
  /** In the order of the pack's own list of entries, which is that of all index objects. */
  bits: Uint8Array;
  /** Of the pack, when it was met first. */
  readonly packNumber: number;
  count: number;
  /** Bytes of the records. */
  bytes: number;
}

type Entry = Pick<Location, 'packNumber' | 'entryIndex'>;

export class EntrySet {
  readonly #index: ChunkIndex;
  readonly #byName = new Map<string, PackUse>();
  /** Numbers are never used again. */
  readonly #byNumber = new Map<number, PackUse>();

  constructor(index: ChunkIndex) {
    this.#index = index;
  }

  /** By the name of the pack, in hexadecimal. */
  use(pack: string): PackUse | undefined {
    return this.#byName.get(pack);
  }

  /** Names of the packs. */
  packs(): Iterable<string> {
    return this.#byName.keys();
  }

  has({ packNumber, entryIndex }: Entry): boolean {
    const use = this.#find(packNumber);
    return use !== undefined && hasEntry(use, entryIndex);
  }

  /** False when it was there already. */
  add({ packNumber, entryIndex, length }: Entry & Pick<Location, 'length'>): boolean {
    const use = this.#find(packNumber) ?? this.#newUse(packNumber);
    if (hasEntry(use, entryIndex)) return false;
    if (entryIndex >> 3 >= use.bits.length) growTo(use, entryIndex);
    use.bits[entryIndex >> 3]! |= 1 << (entryIndex & 7);
    use.count++;
    use.bytes += length;
    return true;
  }

  #find(packNumber: number): PackUse | undefined {
    const known = this.#byNumber.get(packNumber);
    if (known) return known;
    const pack = this.#index.pack(packNumber);
    const use = pack && this.#byName.get(pack.pack.toString('hex'));
    if (use) this.#byNumber.set(packNumber, use);
    return use;
  }

  #newUse(packNumber: number): PackUse {
    // A location is looked up and added at once, so its pack is known.
    const { entryCount, pack } = this.#index.requiredPack(packNumber);
    const bits = new Uint8Array((entryCount + 7) >> 3);
    const use = { bits, packNumber, count: 0, bytes: 0 };
    this.#byName.set(pack.toString('hex'), use);
    this.#byNumber.set(packNumber, use);
    return use;
  }
}

export function hasEntry({ bits }: PackUse, entryIndex: number): boolean {
  return ((bits[entryIndex >> 3] ?? 0) & (1 << (entryIndex & 7))) !== 0;
}

/** An index object that somebody has forged may say that the pack has fewer entries than it has. */
function growTo(use: PackUse, entryIndex: number): void {
  const grown = new Uint8Array(Math.max(use.bits.length * 2, (entryIndex >> 3) + 1));
  grown.set(use.bits);
  use.bits = grown;
}
