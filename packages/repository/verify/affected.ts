/** Which points reach damaged chunks. Shared nodes are looked at once. */
import { CofferError } from '@coffer/base';
import { type ChunkId, idKey, isZeroId } from '../chunk/chunk-id.ts';
import { RecordReader } from '../chunk/record-reader.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';

export async function affectedPoints(
  repository: Repository,
  points: readonly RecoveryPoint[],
  damaged: ReadonlySet<string>,
  signal?: AbortSignal,
): Promise<RecoveryPoint[]> {
  if (damaged.size === 0) return [];
  const search = new DamageSearch(repository, damaged, signal);
  const affected: RecoveryPoint[] = [];
  for (const point of points) {
    for (const { root } of point.roots) {
      if (!(await search.reaches(Buffer.from(root, 'hex')))) continue;
      affected.push(point);
      break;
    }
  }
  return affected;
}

class DamageSearch {
  readonly #repository: Repository;
  readonly #damaged: ReadonlySet<string>;
  readonly #records: RecordReader;
  /** Nodes that were searched, and whether they reach damage. */
  readonly #known = new Map<string, boolean>();

  constructor(repository: Repository, damaged: ReadonlySet<string>, signal?: AbortSignal) {
    const { store, index } = repository;
    this.#repository = repository;
    this.#damaged = damaged;
    this.#records = new RecordReader({ store, index, signal });
  }

  async reaches(id: ChunkId): Promise<boolean> {
    if (isZeroId(id)) return false;
    const key = idKey(id);
    if (this.#damaged.has(key)) return true;
    if (this.#repository.index.find(id)?.kind !== 'node') return false;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    // A forged node may be its own child.
    this.#known.set(key, false);
    const found = await this.#childrenReach(id);
    this.#known.set(key, found);
    return found;
  }

  async #childrenReach(id: ChunkId): Promise<boolean> {
    try {
      for (const child of await this.#records.readChildren(id)) {
        if (await this.reaches(child)) return true;
      }
      return false;
    } catch (error) {
      if (error instanceof CofferError) return true;
      throw error;
    }
  }
}
