/**
 * `npm run damage -- [--seed S] [--samples N] [--thorough N]`: the whole matrix; `samples` bytes of
 * each pack, and every N-th damage is repaired too.
 */
import { parseArgs } from 'node:util';
import { seededRandom, systemRandom } from '@coffer/base';
import { bitFlips, strangers, swaps, wholeObjectDamages } from './damages.ts';
import { Forgeries } from './forgeries.ts';
import { DamageMatrix } from './matrix.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    samples: { type: 'string', default: '60' },
    thorough: { type: 'string', default: '20' },
    only: { type: 'string', default: '' },
  },
});
const seed = Number(values.seed ?? Math.floor(systemRandom.fraction() * 1e9));
const matrix = await DamageMatrix.make(seed);
const { objects, points } = matrix.intact;
const random = seededRandom(seed);
console.log(`seed ${seed}, ${objects.size} objects, ${points.length} points`);
let failed = 0;
let total = 0;
const kinds = {
  strangers: [strangers(random), 1],
  forged: [new Forgeries(matrix.intact, seed).all(), 1],
  whole: [wholeObjectDamages(objects, random, points), 1],
  swaps: [swaps(objects, points), 1],
  flips: [bitFlips(objects, Number(values.samples), random, points), Number(values.thorough)],
} as const;
try {
  for (const [kind, [damages, every]] of Object.entries(kinds)) {
    let count = 0;
    if (!kind.includes(values.only)) continue;
    for (const damage of damages) {
      count++;
      try {
        await matrix.check(damage, { thorough: count % every === 0 });
      } catch (error) {
        failed++;
        tell(error);
      }
    }
    total += count;
    console.log(`${kind}: ${count} damages, ${failed} failed so far`);
  }
} finally {
  await matrix.close();
}
console.log(`${total} damages, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

/** The first of them: more would say the same. */
function tell(error: unknown): void {
  if (failed <= 60) console.error(describe(error));
}

function describe(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return `${String(error)}\n    ${cause instanceof Error ? cause.stack : String(cause)}`;
}
