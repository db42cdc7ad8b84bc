/**
 * Which packs a store has, and how large they are: what the index says of a pack counts only as long
 * as the pack is there. Compact, since a store may have millions.
 */
import { mapBounded } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { AcceptsPack, ChunkIndex } from '../index/chunk-index.ts';
import { parsePackObjectName } from './pack-codec.ts';

/** Lists under way at once: one for each first digit of a name. */
const DIGITS = Array.from('0123456789abcdef');
const NAME_SIZE_BYTES = 32;
/**
 * A name, then the size and the time as doubles: what lies there under the name of a pack may be
 * larger.
 */
const TIME_OFFSET = NAME_SIZE_BYTES + 8;
const RECORD_SIZE_BYTES = TIME_OFFSET + 8;

/** A pack, and how large it is said to be. */
export interface PackPlace {
  readonly pack: Buffer;
  readonly sizeBytes: number;
}

export class StoredPacks {
  /** Records in the order of their names, for each first byte of a name. */
  readonly #groups: readonly Buffer[];

  private constructor(groups: readonly Buffer[]) {
    this.#groups = groups;
  }

  /** Lists them, several parts of the names at once. */
  static async list(store: ObjectStore, signal?: AbortSignal): Promise<StoredPacks> {
    const groups = Array.from({ length: 256 }, () => new Group());
    await mapBounded(DIGITS, DIGITS.length, async (digit) => {
      for await (const info of store.list(`packs/${digit}`, { signal })) {
        const { name, sizeBytes, createdAt } = info;
        const pack = parsePackObjectName(name);
        if (pack) groups[pack[0]!]!.add(pack, sizeBytes, createdAt);
      }
    });
    return new StoredPacks(groups.map((group) => group.records()));
  }

  /** Undefined when the pack is not there. */
  sizeOf(pack: Buffer): number | undefined {
    const place = this.#placeOf(pack);
    return place === undefined
      ? undefined
      : this.#groups[pack[0]!]!.readDoubleLE(place * RECORD_SIZE_BYTES + NAME_SIZE_BYTES);
  }

  /** When the oldest pack was stored that is not among these, in ms since 1970, by the store. */
  oldestBut(packs: Iterable<{ readonly pack: Buffer }>): number | undefined {
    const among = this.#groups.map((records) => new Uint8Array(records.length / RECORD_SIZE_BYTES));
    for (const { pack } of packs) {
      const place = this.#placeOf(pack);
      if (place !== undefined) among[pack[0]!]![place] = 1;
    }
    let oldest: number | undefined;
    for (const [group, records] of this.#groups.entries()) {
      among[group]!.forEach((isAmong, place) => {
        if (isAmong) return;
        const createdAt = records.readDoubleLE(place * RECORD_SIZE_BYTES + TIME_OFFSET);
        oldest = Math.min(oldest ?? createdAt, createdAt);
      });
    }
    return oldest;
  }

  /** In its group. */
  #placeOf(pack: Buffer): number | undefined {
    const records = this.#groups[pack[0]!]!;
    let low = 0;
    let high = records.length / RECORD_SIZE_BYTES;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const offset = middle * RECORD_SIZE_BYTES;
      const order = records.compare(pack, 0, NAME_SIZE_BYTES, offset, offset + NAME_SIZE_BYTES);
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return undefined;
  }

  *all(): Iterable<PackPlace> {
    for (const records of this.#groups) {
      for (let offset = 0; offset < records.length; offset += RECORD_SIZE_BYTES) {
        const pack = records.subarray(offset, offset + NAME_SIZE_BYTES);
        yield { pack, sizeBytes: records.readDoubleLE(offset + NAME_SIZE_BYTES) };
      }
    }
  }

  has({ pack, sizeBytes }: PackPlace): boolean {
    return this.sizeOf(pack) === sizeBytes;
  }

  /** The same for packs by their numbers. */
  acceptor(index: ChunkIndex): AcceptsPack {
    const known = new Map<number, boolean>();
    return (packNumber) => {
      const isThere = known.get(packNumber) ?? this.has(index.requiredPack(packNumber));
      known.set(packNumber, isThere);
      return isThere;
    };
  }
}

/** Packs whose names begin with one byte, while they are listed. */
class Group {
  #records: Buffer[] = [];

  add(pack: Buffer, sizeBytes: number, createdAt: number): void {
    const record = Buffer.alloc(RECORD_SIZE_BYTES);
    record.set(pack);
    record.writeDoubleLE(sizeBytes, NAME_SIZE_BYTES);
    record.writeDoubleLE(createdAt, TIME_OFFSET);
    this.#records.push(record);
  }

  records(): Buffer {
    return Buffer.concat(this.#records.sort((a, b) => a.compare(b)));
  }
}
