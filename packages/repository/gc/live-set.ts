/** Which chunks are reachable. */
import { type CofferError, mapBounded } from '@coffer/base';
import { type ChunkId, isZeroId } from '../chunk/chunk-id.ts';
import { isChunkError, type RecordReader } from '../chunk/record-reader.ts';
import type { AcceptsPack, ChunkIndex } from '../index/chunk-index.ts';
import { EntrySet } from '../index/entry-set.ts';

/** Nodes read at once. */
const NODES_AT_ONCE = 16;
/** Nodes of a level that are held at once; their order in the packs makes reading sequential. */
const FRONTIER_MAX = 100_000;

export interface LiveSetOptions {
  readonly index: ChunkIndex;
  readonly records: RecordReader;
  /** Chunks in other packs count as missing. */
  readonly accepts: AcceptsPack;
  /** Of several copies of a chunk, one in a pack that this accepts counts, when there is one. */
  readonly prefers?: AcceptsPack | undefined;
  /** Takes nodes that cannot be read; without it they end the marking. */
  readonly onUnreadable?: ((id: ChunkId, error: CofferError) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class LiveSet {
  readonly #options: LiveSetOptions;
  readonly entries: EntrySet;
  readonly missing: ChunkId[] = [];
  chunkCount = 0;

  constructor(options: LiveSetOptions) {
    this.#options = options;
    this.entries = new EntrySet(options.index);
  }

  /** Marks all that the roots reach. What is not stored is collected in `missing`. */
  async mark(roots: readonly ChunkId[]): Promise<void> {
    let frontier: ChunkId[] = [];
    for (const root of roots) this.#visit(root, frontier);
    while (frontier.length > 0) {
      const next: ChunkId[] = [];
      // Depth first once a level is wide, so that memory stays bounded.
      const batch = frontier.splice(Math.max(0, frontier.length - FRONTIER_MAX));
      await this.#expand(batch, next);
      frontier = frontier.concat(next);
    }
  }

  async #expand(nodes: readonly ChunkId[], next: ChunkId[]): Promise<void> {
    const { index, signal } = this.#options;
    const placed = nodes.map((id) => ({ id, location: index.find(id) }));
    placed.sort(
      (a, b) =>
        (a.location?.packNumber ?? 0) - (b.location?.packNumber ?? 0) ||
        (a.location?.offset ?? 0) - (b.location?.offset ?? 0),
    );
    await mapBounded(placed, NODES_AT_ONCE, async ({ id }) => {
      signal?.throwIfAborted();
      for (const child of await this.#childrenOf(id)) this.#visit(child, next);
    });
  }

  async #childrenOf(id: ChunkId): Promise<readonly ChunkId[]> {
    const { records, onUnreadable } = this.#options;
    try {
      return await records.readChildren(id);
    } catch (error) {
      if (!onUnreadable || !isChunkError(error)) throw error;
      onUnreadable(id, error);
      return [];
    }
  }

  /** Marks one chunk; a node that was not marked yet is to be expanded. */
  #visit(id: ChunkId, nodes: ChunkId[]): void {
    if (isZeroId(id)) return;
    const { index, accepts, prefers } = this.#options;
    const location = (prefers && index.find(id, prefers)) ?? index.find(id, accepts);
    if (!location) {
      this.missing.push(Buffer.from(id));
      return;
    }
    if (!this.entries.add(location)) return;
    this.chunkCount++;
    if (location.kind === 'node') nodes.push(Buffer.from(id));
  }
}
