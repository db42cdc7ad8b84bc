/**
 * `npm run simulate -- [--seeds N] [--first SEED] [--adversary NAME | --replicated]`: many seeds,
 * one after the other, with the adversary of each seed or this one, or over three units without one.
 */
import { parseArgs } from 'node:util';
import { systemRandom } from '@coffer/base';
import {
  ADVERSARIES,
  simulate,
  type SimulationResult,
} from '@coffer/repository/testing/simulation.ts';
import { SimulationHosts } from '@coffer/repository/testing/simulation-hosts.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    first: { type: 'string' },
    adversary: { type: 'string' },
    replicated: { type: 'boolean', default: false },
  },
});
const seeds = Number(values.seeds);
const first = Number(values.first ?? Math.floor(systemRandom.fraction() * 1e9));
console.log(`${seeds} seeds from ${first}`);
const adversary = ADVERSARIES.find((each) => each === values.adversary);
if (values.adversary !== undefined && adversary === undefined) {
  throw new Error(`an adversary is one of ${ADVERSARIES.join(', ')}`);
}
const { replicated } = values;
if (replicated && adversary !== undefined) throw new Error('over units there is no adversary');
const hosts = await SimulationHosts.open();
const totals = new Map<string, number>();
let failed = 0;
try {
  for (let seed = first; seed < first + seeds; seed++) {
    try {
      add(await simulate(seed, hosts, { adversary, replicated }));
    } catch (error) {
      failed++;
      console.error(`seed ${seed}:`, error);
    }
    if ((seed - first + 1) % 500 === 0) console.log(`${seed - first + 1} seeds, ${failed} failed`);
  }
} finally {
  await hosts.close();
}
function add({ ...counts }: SimulationResult): void {
  for (const [name, value] of Object.entries(counts)) {
    totals.set(name, (totals.get(name) ?? 0) + value);
  }
}

console.log(`${seeds} seeds from ${first}, ${failed} failed`, Object.fromEntries(totals));
process.exitCode = failed === 0 ? 0 : 1;
