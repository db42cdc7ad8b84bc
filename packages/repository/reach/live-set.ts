/**
 * Which chunks are reachable. Who marks has no key, and whoever can add objects can add places. What a
 * node reaches is promised by its id, so that a forged place of it means nothing. Of data nobody can
 * tell without a key which place holds what the id says: all are marked.
 */
import { type CofferError, mapBounded } from '@coffer/base';
import { type ChunkId, idKey, isZeroId, kindOf } from '../chunk/chunk-id.ts';
import { isChunkError, type RecordReader } from '../chunk/record-reader.ts';
import type { AcceptsPack, ChunkIndex } from '../index/chunk-index.ts';
import { EntrySet } from '../index/entry-set.ts';
import type { Location } from '../index/location.ts';
import { changedMeanwhile } from '../gc/index-in-step.ts';

/** Nodes read at once. */
const NODES_AT_ONCE = 16;
/** Nodes of a level that are held at once; their order in the packs makes reading sequential. */
const FRONTIER_MAX = 100_000;

export interface LiveSetOptions {
  readonly index: ChunkIndex;
  readonly records: RecordReader;
  /** Chunks in other packs count as missing. */
  readonly accepts: AcceptsPack;
  /** Packs that are in the store: a place in another one is marked when there is no other. */
  readonly isThere?: AcceptsPack | undefined;
  /**
   * Packs that are to go: a place in one of them is not marked when the same sealed chunk, byte for
   * byte, lies in another pack.
   */
  readonly isLeaving?: AcceptsPack | undefined;
  /** Takes nodes that cannot be read; without it they end the marking. */
  readonly onUnreadable?: ((id: ChunkId, error: CofferError) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class LiveSet {
  readonly #options: LiveSetOptions;
  readonly entries: EntrySet;
  /** Nodes that were visited: an index object that lies may mark entries that are others'. */
  readonly #nodes = new Set<string>();
  readonly missing: ChunkId[] = [];
  chunkCount = 0;

  constructor(options: LiveSetOptions) {
    this.#options = options;
    this.entries = new EntrySet(options.index);
  }

  /** Marks all that the roots reach. What is not stored is collected in `missing`. */
  async mark(roots: readonly ChunkId[]): Promise<void> {
    let frontier = await this.#visitAll(roots);
    while (frontier.length > 0) {
      // Depth first once a level is wide, so that memory stays bounded.
      const batch = frontier.splice(Math.max(0, frontier.length - FRONTIER_MAX));
      frontier = frontier.concat(await this.#expand(batch));
    }
  }

  async #expand(nodes: readonly ChunkId[]): Promise<ChunkId[]> {
    const { index, signal } = this.#options;
    const placed = nodes.map((id) => ({ id, location: index.find(id) }));
    placed.sort(
      (a, b) =>
        (a.location?.packNumber ?? 0) - (b.location?.packNumber ?? 0) ||
        (a.location?.offset ?? 0) - (b.location?.offset ?? 0),
    );
    const next: ChunkId[] = [];
    await mapBounded(placed, NODES_AT_ONCE, async ({ id }) => {
      signal?.throwIfAborted();
      next.push(...(await this.#visitAll(await this.#childrenOf(id))));
    });
    return next;
  }

  async #childrenOf(id: ChunkId): Promise<readonly ChunkId[]> {
    const { records, accepts, onUnreadable } = this.#options;
    try {
      return await records.readChildren(id, accepts);
    } catch (error) {
      if (!onUnreadable || !isChunkError(error)) throw error;
      onUnreadable(id, error);
      return [];
    }
  }

  /** Marks chunks; returns the nodes that were not marked yet, and are to be expanded. */
  async #visitAll(ids: readonly ChunkId[]): Promise<ChunkId[]> {
    const nodes: ChunkId[] = [];
    for (const id of ids) {
      if (isZeroId(id)) continue;
      const places = this.#options.index.places(id, this.#options.accepts);
      if (places.length === 0) this.missing.push(Buffer.from(id));
      // With one place, which is nearly always so, nothing is waited for.
      const kept =
        places.length > 1 ? await this.#withoutLeaving(id, this.#withoutMissing(places)) : places;
      const isNew = kept.map((place) => this.entries.add(place)).includes(true);
      if (isNew) this.chunkCount++;
      if (places.length === 0 || kindOf(id) === 'data' || this.#nodes.has(idKey(id))) continue;
      this.#nodes.add(idKey(id));
      nodes.push(Buffer.from(id));
    }
    return nodes;
  }

  #withoutMissing(places: readonly Location[]): readonly Location[] {
    const { isThere = () => true } = this.#options;
    const there = places.filter(({ packNumber }) => isThere(packNumber));
    return there.length > 0 ? there : places;
  }

  async #withoutLeaving(id: ChunkId, places: readonly Location[]): Promise<readonly Location[]> {
    const { isLeaving = () => false, records } = this.#options;
    const staying = places.filter(({ packNumber }) => !isLeaving(packNumber));
    if (staying.length === 0 || staying.length === places.length) return places;
    const kept = [...staying];
    for (const place of places) {
      if (!isLeaving(place.packNumber)) continue;
      const sealed = await records.fetchAt(place);
      const chunk = { entry: { ...place, id }, ...sealed };
      if (!(await records.isAmong(chunk, staying))) kept.push(place);
    }
    // Another process may have taken a pack out of the local index while we waited.
    if (kept.some(({ packNumber }) => !this.#options.index.pack(packNumber))) {
      throw changedMeanwhile();
    }
    return kept;
  }
}

/** Whether all that a root reaches is stored, where some places may be forged or damaged. */
export class Wholeness {
  readonly #options: Pick<LiveSetOptions, 'index' | 'records' | 'accepts'>;
  readonly #isBad: (id: ChunkId, place: Location) => boolean;
  readonly #known = new Map<string, boolean>();

  /** `isBad` tells places whose bytes are known not to be what the id says. */
  constructor(
    options: Pick<LiveSetOptions, 'index' | 'records' | 'accepts'>,
    isBad: (id: ChunkId, place: Location) => boolean = () => false,
  ) {
    this.#options = options;
    this.#isBad = isBad;
  }

  async isWhole(id: ChunkId): Promise<boolean> {
    if (isZeroId(id)) return true;
    const key = idKey(id);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const isWhole = await this.#look(id);
    this.#known.set(key, isWhole);
    return isWhole;
  }

  async #look(id: ChunkId): Promise<boolean> {
    const { index, accepts } = this.#options;
    const places = index.places(id, accepts);
    const good = places.filter((place) => !this.#isBad(id, place));
    if (kindOf(id) === 'data') return good.length > 0;
    const children = await this.#childrenAt(id, good);
    if (!children) return false;
    for (const child of children) if (!(await this.isWhole(child))) return false;
    return true;
  }

  async #childrenAt(id: ChunkId, places: readonly Location[]): Promise<ChunkId[] | undefined> {
    for (const place of places) {
      const children = await this.#options.records.readChildrenAt(id, place);
      if (children) return children;
    }
    return undefined;
  }
}
