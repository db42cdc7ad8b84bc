/** `npm run fuzz -- [--seconds N] [--seed S] [--only DECODER]`. */
import { parseArgs } from 'node:util';
import { systemRandom } from '@coffer/base';
import { fuzz } from './fuzz.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    only: { type: 'string' },
  },
});
const seed = Number(values.seed ?? Math.floor(systemRandom.fraction() * 1e9));
console.log(`seed ${seed}`);
/** Set by the first round: to make what is decoded takes its time as well. */
let endsAt: number | undefined;
const { inputCount, failedCount, findings } = await fuzz(
  seed,
  () => performance.now() < (endsAt ??= performance.now() + Number(values.seconds) * 1000),
  values.only,
);
for (const finding of findings) console.error(finding);
console.log(
  `seed ${seed}: ${inputCount} inputs, ${failedCount} refused, ${findings.length} findings`,
);
process.exitCode = findings.length === 0 ? 0 : 1;
