import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Random, seededRandom, systemRandom } from '@coffer/base';
import { bitFlips, type Damage, strangers, swaps, wholeObjectDamages } from './damages.ts';
import { Forgeries } from './forgeries.ts';
import { DamageMatrix } from './matrix.ts';
import { objectKinds } from './names.ts';

const FLIPS = 100;
const REPAIRS = 6;

for (const seed of [1, Math.floor(systemRandom.fraction() * 1e9)]) {
  describe(`a repository that is damaged, seed ${seed}`, () => {
    let matrix: DamageMatrix;
    let random: Random;
    before(async () => {
      matrix = await DamageMatrix.make(seed);
      random = seededRandom(seed);
    });
    after(async () => await matrix.close());

    async function check(damages: Iterable<Damage>, count: number, repairs: number): Promise<void> {
      const chosen = sample(Array.from(damages), count, random);
      for (const [index, damage] of chosen.entries()) {
        await matrix.check(damage, { thorough: index < repairs });
      }
    }

    it('objects of every kind that the format has are damaged, and forged', () => {
      const { objects, points } = matrix.intact;
      const forged = new Forgeries(matrix.intact, seed).all();
      const all = {
        'is there': Array.from(objects.keys()),
        'is flipped': namesOf(bitFlips(objects, 1, random, points)),
        'is damaged': namesOf(wholeObjectDamages(objects, random, points)),
        'is swapped': namesOf(swaps(objects, points)),
        'is forged': namesOf(forged),
      };
      for (const [what, names] of Object.entries(all)) {
        for (const { name, pattern } of objectKinds()) {
          // A renewal has no bit.
          if (what === 'is flipped' && name.includes('-renewed-')) continue;
          assert.ok(
            names.some((each) => pattern.test(each)),
            `${name} ${what}`,
          );
        }
      }
    });

    it('a flipped bit is found, and touches what it touches only', async () => {
      const { objects, points } = matrix.intact;
      await check(bitFlips(objects, 30, random, points), FLIPS, REPAIRS);
    });

    it('objects that are gone, cut, emptied or overwritten do no more harm', async () => {
      const { objects, points } = matrix.intact;
      await check(wholeObjectDamages(objects, random, points), 36, REPAIRS);
    });

    it('objects under the names of others are not taken for those', async () => {
      const { objects, points } = matrix.intact;
      await check(swaps(objects, points), 30, REPAIRS);
    });

    it('what is well-formed and says what is not so does no more harm', async () => {
      await check(new Forgeries(matrix.intact, seed).all(), 40, REPAIRS);
    });

    it('a lost index is made anew from the packs', async () => {
      await matrix.checkRebuild(() => true);
      await matrix.checkRebuild(() => random.fraction() < 0.5);
    });

    it('objects that nobody of us wrote are found, and stop nothing', async () => {
      await check(strangers(random), 15, 15);
    });
  });
}

function namesOf(damages: Iterable<Damage>): string[] {
  return Array.from(damages, ({ changes }) => Array.from(changes.keys())).flat();
}

function sample<T>(all: readonly T[], count: number, random: Random): T[] {
  return all
    .map((value) => ({ value, order: random.fraction() }))
    .sort((a, b) => a.order - b.order)
    .slice(0, count)
    .map(({ value }) => value);
}
