/**
 * Before damage of the repository is told, the index objects are read once more themselves: perhaps it
 * is only the local index that is damaged. Then that is replaced.
 */
import { isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { ChunkId } from '../chunk/chunk-id.ts';
import type { PackDescription } from '../pack/pack-codec.ts';
import { getIfThere } from '../store-calls.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { decodeIndexObject, INDEX_OBJECT_SIZE_BYTES_MAX } from './index-codec.ts';
import type { Location } from './location.ts';

export interface DoubtOptions {
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  readonly signal?: AbortSignal | undefined;
}

export class IndexDoubt {
  readonly #options: DoubtOptions;
  /** Damage lies together, so the object that was read last is at hand. */
  #last:
    | { readonly name: string; readonly packs: Promise<PackDescription[] | undefined> }
    | undefined;
  #isComplete: Promise<boolean> | undefined;

  constructor(options: DoubtOptions) {
    this.#options = options;
  }

  /** True when the index was wrong about the chunk, or did not know it; it is another one then. */
  async isIndexWrong(id: ChunkId): Promise<boolean> {
    const { index, store, signal } = this.#options;
    const before = index.replacementCount;
    const location = index.find(id);
    const isRight = location ? await this.#isSaid(id, location) : await this.#isAllFound();
    // Somebody else may have found out meanwhile.
    if (index.replacementCount !== before) return true;
    if (isRight) return false;
    await index.renew(store, signal);
    return true;
  }

  /** Whether the index object of the chunk's pack says where the chunk lies. */
  async #isSaid(id: ChunkId, location: Location): Promise<boolean> {
    const pack = this.#options.index.pack(location.packNumber);
    // It has left the index meanwhile, which is no damage.
    if (!pack) return true;
    const packs = await this.#readLast(pack.object);
    if (!packs) return true;
    const said = packs.find((each) => each.pack.equals(pack.pack));
    const entry = said?.entries[location.entryIndex];
    const box = entry && said?.keyBoxes[entry.keyIndex];
    const isRight =
      entry !== undefined &&
      entry.id.equals(id) &&
      said?.sizeBytes === pack.sizeBytes &&
      box?.equals(pack.keyBoxes[location.keyIndex] ?? Buffer.alloc(0)) === true &&
      FIELDS.every((field) => entry[field] === location[field]);
    return isRight;
  }

  /** Whether the index knows all chunks that index objects name; looked at once. */
  async #isAllFound(): Promise<boolean> {
    this.#isComplete ??= this.#lookForAll();
    return await this.#isComplete;
  }

  async #lookForAll(): Promise<boolean> {
    const { index, store, signal } = this.#options;
    const { objects } = await index.synchronize(store, signal);
    for (const name of objects) {
      signal?.throwIfAborted();
      const packs = (await this.#read(name)) ?? [];
      const isMissing = packs.some(({ entries }) => entries.some(({ id }) => !index.find(id)));
      if (isMissing) return false;
    }
    return true;
  }

  async #readLast(name: string): Promise<PackDescription[] | undefined> {
    if (this.#last?.name !== name) this.#last = { name, packs: this.#read(name) };
    return await this.#last.packs;
  }

  /** Undefined for one that is gone or damaged, from which nothing can be learnt. */
  async #read(name: string): Promise<PackDescription[] | undefined> {
    try {
      const bytes = await getIfThere(this.#options.store, name, INDEX_OBJECT_SIZE_BYTES_MAX);
      return bytes && decodeIndexObject({ name, bytes });
    } catch (error) {
      if (isCofferError(error, 'object-damaged')) return undefined;
      throw error;
    }
  }
}

const FIELDS = [
  'kind',
  'compressed',
  'padded',
  'keyIndex',
  'ordinal',
  'offset',
  'length',
  'plainLength',
] as const satisfies readonly (keyof Location)[];
