/** `npm run crash -- [--rounds N] [--only backup,gc,copy,restore] [--seed S]`. */
import { parseArgs } from 'node:util';
import { seededRandom, systemRandom } from '@coffer/base';
import { CrashSite } from './crash-site.ts';
import { backUp, ROUNDS } from './rounds.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    only: { type: 'string', default: Object.keys(ROUNDS).join(',') },
    seed: { type: 'string' },
  },
});
const seed = Number(values.seed ?? Math.floor(systemRandom.fraction() * 1e9));
const site = await CrashSite.make(seededRandom(seed));
console.log(`seed ${seed}, in ${site.folder}`);
await backUp(site, 'files');
await backUp(site, 'disk');
const names = values.only.split(',') as (keyof typeof ROUNDS)[];
const killed = new Map<string, number>();
for (let round = 1; round <= Number(values.rounds); round++) {
  for (const name of names) {
    if (await ROUNDS[name](site)) killed.set(name, (killed.get(name) ?? 0) + 1);
  }
  if (round % 10 === 0) console.log(`${round} rounds; killed`, Object.fromEntries(killed));
}
for (const name of ['repo', 'copy'] as const) await site.checkNoGarbage(site.side(name));
// Only after all went well: what failed is left to be looked at.
await site.close();
console.log(`done: ${values.rounds} rounds; killed`, Object.fromEntries(killed));
