/**
 * Which packs a store has, asked for one by one: for who needs few of many. What was not asked for
 * counts as not there.
 */
import { mapBounded } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { AcceptsPack, ChunkIndex } from '../index/chunk-index.ts';
import { packObjectName } from './pack-codec.ts';
import type { PackPlace } from './stored-packs.ts';

/** Packs asked for at once. */
const LOOKS_AT_ONCE = 24;

export class PacksLookedUp {
  readonly #store: ObjectStore;
  readonly #signal: AbortSignal | undefined;
  /** By their names in hexadecimal; undefined for those that are not there. */
  readonly #sizes = new Map<string, Promise<number | undefined>>();
  readonly #known = new Map<string, number | undefined>();

  constructor(store: ObjectStore, signal?: AbortSignal) {
    this.#store = store;
    this.#signal = signal;
  }

  /** Asks for those that nobody has asked for. */
  async look(packs: readonly PackPlace[]): Promise<void> {
    const unknown = packs.filter(({ pack }) => !this.#known.has(pack.toString('hex')));
    if (unknown.length === 0) return;
    await mapBounded(unknown, LOOKS_AT_ONCE, async ({ pack }) => {
      const name = pack.toString('hex');
      const size = this.#sizes.get(name) ?? this.#ask(pack);
      this.#sizes.set(name, size);
      this.#known.set(name, await size);
    });
  }

  has({ pack, sizeBytes }: PackPlace): boolean {
    return this.#known.get(pack.toString('hex')) === sizeBytes;
  }

  /** The same for packs by their numbers. */
  acceptor(index: ChunkIndex): AcceptsPack {
    return (packNumber) => this.has(index.requiredPack(packNumber));
  }

  async #ask(pack: Buffer): Promise<number | undefined> {
    const info = await this.#store.stat(packObjectName(pack), { signal: this.#signal });
    return info?.sizeBytes;
  }
}
