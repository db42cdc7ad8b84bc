/** `npm run power-loss -- [--seed S] [--variants N]`: every prefix of the record, several losses each. */
import { parseArgs } from 'node:util';
import { systemRandom } from '@coffer/base';
import { PowerLoss } from './power-loss.ts';

const { values } = parseArgs({
  options: { seed: { type: 'string' }, variants: { type: 'string', default: '2' } },
});
const seed = Number(values.seed ?? Math.floor(systemRandom.fraction() * 1e9));
const power = PowerLoss.open(seed);
let states = 0;
let failed = 0;
try {
  const record = await power.record();
  console.log(`seed ${seed}, ${record.length} steps`);
  for (let length = 0; length <= record.length; length++) {
    const losses = [
      'all',
      'none',
      ...Array.from({ length: Number(values.variants) }, () => 'random'),
    ];
    for (const [variant, loss] of losses.entries()) {
      states++;
      try {
        await power.check(record, length, loss as 'all' | 'none' | 'random', seed + variant);
      } catch (error) {
        failed++;
        console.error(error);
      }
    }
    if (length % 50 === 0) console.log(`${length} steps, ${states} states, ${failed} failed`);
  }
} finally {
  await power.close();
}
console.log(`${states} states, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
