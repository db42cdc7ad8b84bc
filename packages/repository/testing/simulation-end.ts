/**
 * The end of a simulation, when all is quiet: what was promised is there and whole, but for what the
 * adversary entitles to be lost; a repair and new backups mend the rest, and collections leave nothing
 * but live data.
 */
import { assert, isCofferError, type Random } from '@coffer/base';
import { collectGarbage } from '../gc/run.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import { repairRepository } from '../repair/repair.ts';
import type { UnlockedRepository } from '../repository.ts';
import { verifyRepository } from '../verify/verify.ts';
import { checkRestore, type Expected, writeContents } from './simulated-content.ts';
import type { SimulatedStorage } from './simulated-storage.ts';

export interface EndOptions {
  readonly storage: SimulatedStorage;
  readonly expected: Map<string, Expected>;
  readonly mayBeDamaged: (id: string) => boolean;
  /** Whether something may be there that only a repair mends. */
  readonly isStruck: boolean;
  /** Opens it as a process that nobody disturbs. */
  readonly open: () => Promise<UnlockedRepository>;
  readonly random: Random;
}

export class SimulationEnd {
  readonly #options: EndOptions;

  constructor(options: EndOptions) {
    this.#options = options;
  }

  async check(): Promise<{ points: number; damaged: number }> {
    const { open, isStruck } = this.#options;
    const repository = await open();
    const damaged = isStruck ? await this.#mend(repository) : 0;
    for (let round = 0; round < 5; round++) await this.#collect(repository);
    const points = await this.#checkWhole(await open());
    await checkGarbage(repository);
    return { points, damaged };
  }

  /** A run of before a loss may have left an index object of packs that this collection sweeps. */
  async #collect(repository: UnlockedRepository): Promise<void> {
    try {
      await collectGarbage({ repository, plan: EAGER_PLAN });
    } catch (error) {
      if (!this.#options.isStruck || !isCofferError(error, 'repository-damaged')) throw error;
      await repairRepository({ repository, rebuildIndex: false });
    }
  }

  /** A verification tells what is damaged; a repair and a backup of the same contents mend it. */
  async #mend(repository: UnlockedRepository): Promise<number> {
    const { mayBeDamaged, random } = this.#options;
    const damaged = await this.#checkDamages(repository);
    for (const { id } of damaged) assert(mayBeDamaged(id), `nobody lost what ${id} reaches`);
    await repairRepository({ repository, rebuildIndex: random.fraction() < 0.3 });
    await repairRepository({ repository, rebuildIndex: false });
    for (const { id } of damaged) await this.#writeAgain(repository, this.#expectedOf(id));
    return damaged.length;
  }

  /** Restores give what was written, or fail for points that the verification names. */
  async #checkDamages(repository: UnlockedRepository): Promise<RecoveryPoint[]> {
    const { pointsDamaged } = await verifyRepository({ repository, readFraction: 1 });
    const points = await repository.points({ onDamaged: () => {} });
    this.#checkPromises(points);
    const damaged = points.filter(({ id }) => pointsDamaged.includes(id));
    for (const point of points) {
      try {
        await checkRestore(repository, point, this.#expectedOf(point.id));
      } catch (error) {
        if (!isCofferError(error) || !damaged.includes(point)) throw error;
      }
    }
    return damaged;
  }

  async #writeAgain(repository: UnlockedRepository, { contents }: Expected): Promise<void> {
    const { expected, storage } = this.#options;
    const session = await repository.beginSession();
    const written = await writeContents(repository, session, contents, async () => {});
    expected.set(written.point.id, { ...written, forgedBefore: new Set() });
    await session.commit([written.point]);
    storage.promise(written.point.id);
  }

  async #checkWhole(repository: UnlockedRepository): Promise<number> {
    const { findings } = await verifyRepository({ repository, readFraction: 1 });
    const first = JSON.stringify(findings.slice(0, 3));
    assert(findings.length === 0, `all that points reach is stored: ${first}`);
    const points = await repository.points();
    for (const point of points) await checkRestore(repository, point, this.#expectedOf(point.id));
    this.#checkPromises(points);
    return points.length;
  }

  #expectedOf(id: string): Expected {
    const expected = this.#options.expected.get(id);
    assert(expected !== undefined, 'only points that somebody wrote exist');
    return expected;
  }

  #checkPromises(points: readonly RecoveryPoint[]): void {
    const present = new Set(points.map(({ id }) => id));
    for (const id of this.#options.storage.promised) {
      assert(present.has(id), `a committed point exists: ${id}`);
    }
  }
}

/** So little waste is allowed that packs are emptied and moved at every turn. */
export const EAGER_PLAN = {
  ...GC_PLAN_DEFAULTS,
  wasteMax: 0.01,
  smallPackBytes: 1024,
  smallPacksMax: 2,
};

/** After collections that had nothing to wait for, nothing but live data is left. */
async function checkGarbage(repository: UnlockedRepository): Promise<void> {
  const packs = [...repository.index.packs()];
  const indexed = new Set(packs.map(({ pack }) => pack.toString('hex')));
  const entryCount = packs.reduce((sum, pack) => sum + pack.entryCount, 0);
  assert(repository.index.chunkCount <= entryCount, 'the index has forgotten what is gone');
  for await (const { name } of repository.store.list('packs/')) {
    assert(indexed.has(name.slice(name.lastIndexOf('/') + 1)), `no pack is forgotten: ${name}`);
  }
  for await (const { name } of repository.store.list('sessions/')) {
    assert(false, `no session is forgotten: ${name}`);
  }
}
