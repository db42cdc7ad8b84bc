/**
 * Jobs of the simulation: supervisors try them again and again, with the number of the attempt that
 * follows, or by mistake with one that was there. Each makes one point at most, and whoever is told of
 * what it has made is told the same.
 */
import { assert, type Random } from '@coffer/base';
import type { Attempt, JobResult } from '../session/job.ts';

const JOBS = 4;
const SAME_SHARE = 0.25;
const EARLIER_SHARE = 0.15;

export class SimulatedJobs {
  readonly #random: Random;
  /** How often each was tried. */
  readonly #tries = new Map<string, number>();
  /** Points that an attempt was about to commit. */
  readonly #begun = new Map<string, Set<string>>();
  /** The point that somebody was told of. */
  readonly #announced = new Map<string, string>();

  constructor(random: Random) {
    this.#random = random;
  }

  next(): Attempt {
    const key = `job-${Math.floor(this.#random.fraction() * JOBS)}`;
    const last = this.#tries.get(key) ?? 0;
    const dice = this.#random.fraction();
    const earlier = 1 + Math.floor(this.#random.fraction() * last);
    if (last > 0 && dice < SAME_SHARE) return { key, number: last };
    if (last > 0 && dice < SAME_SHARE + EARLIER_SHARE) return { key, number: earlier };
    this.#tries.set(key, last + 1);
    return { key, number: last + 1 };
  }

  commits(key: string, id: string): void {
    const begun = this.#begun.get(key) ?? new Set();
    this.#begun.set(key, begun.add(id));
  }

  announce(key: string, points: JobResult['points']): void {
    assert(points.length === 1, 'an attempt makes one point');
    const { id } = points[0]!;
    assert(this.#begun.get(key)?.has(id) === true, 'a result is what an attempt has made');
    assert((this.#announced.get(key) ?? id) === id, `${key} has one result`);
    this.#announced.set(key, id);
  }

  /** Of the points that exist. */
  check(ids: ReadonlySet<string>): void {
    for (const [key, begun] of this.#begun) {
      const made = [...begun].filter((id) => ids.has(id));
      assert(made.length <= 1, `${key} has made ${made.length} points`);
    }
  }
}
