/**
 * Hosts of the simulation: each has a cache of each of the repositories, which its processes share;
 * some processes open it again, as one more process does, and some find it empty. A clone has the
 * cache of its original.
 */
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Random } from '@coffer/base';
import { ChunkIndex } from '../index/chunk-index.ts';

export const HOSTS = 3;

/** The repository that is written to, and the one that its points are copied to. */
export const SOURCE = 0;
export const TARGET = 1;
/** What the source is cloned to: the same repository, as far as anybody can tell. */
export const CLONE = 2;
export type Which = typeof SOURCE | typeof TARGET | typeof CLONE;

const CACHES_PER_HOST = 2;

const REOPENED_SHARE = 0.1;
const EMPTY_SHARE = 0.05;

/** Indexes are used for one seed after the other: making one anew takes longer than to clear it. */
export class SimulationHosts {
  readonly #folder: string;
  readonly #shared: readonly ChunkIndex[];
  /** Indexes of single processes. */
  #single: ChunkIndex[] = [];
  #emptyCount = 0;

  private constructor(folder: string, shared: readonly ChunkIndex[]) {
    this.#folder = folder;
    this.#shared = shared;
  }

  static async open(): Promise<SimulationHosts> {
    const folder = await mkdtemp(join(tmpdir(), 'coffer-simulation-'));
    const places = Array.from({ length: HOSTS * CACHES_PER_HOST }, (_, place) => String(place));
    return new SimulationHosts(
      folder,
      places.map((place) => ChunkIndex.open(join(folder, place))),
    );
  }

  shared(host: number, which: Which): ChunkIndex {
    return this.#shared[placeOf(host, which)]!;
  }

  /** The index that one process uses. */
  indexFor(host: number, which: Which, random: Random): ChunkIndex {
    const dice = random.fraction();
    if (dice < REOPENED_SHARE) return this.#openSingle(String(placeOf(host, which)));
    if (dice >= REOPENED_SHARE + EMPTY_SHARE) return this.shared(host, which);
    return this.#openSingle(`empty-${this.#emptyCount++}`);
  }

  #openSingle(folder: string): ChunkIndex {
    const index = ChunkIndex.open(join(this.#folder, folder));
    this.#single.push(index);
    return index;
  }

  /** Empties the shared ones. */
  clear(): void {
    for (const index of this.#shared) index.clear();
  }

  /** Ends the processes that had an index of their own. */
  async closeSingle(): Promise<void> {
    for (const index of this.#single) await index.close();
    this.#single = [];
  }

  async close(): Promise<void> {
    await this.closeSingle();
    for (const index of this.#shared) await index.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function placeOf(host: number, which: Which): number {
  return host * CACHES_PER_HOST + (which === CLONE ? SOURCE : which);
}
