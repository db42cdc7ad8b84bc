import { it } from 'node:test';
import { systemRandom } from '@coffer/base';
import { simulate, type SimulationOptions } from '@coffer/repository/testing/simulation.ts';
import { SimulationHosts } from '@coffer/repository/testing/simulation-hosts.ts';

/** A few seconds of what `npm run simulate` does for as long as one likes. */
const SEEDS = 25;
/** Each takes several times as long as over one store. */
const SEEDS_REPLICATED = 5;

for (const first of [1, Math.floor(systemRandom.fraction() * 1e9)]) {
  it(`loses nothing but what an adversary takes, ${SEEDS} seeds from ${first}`, () =>
    simulateAll(first, SEEDS, { replicated: false }));

  it(`loses nothing over units that come and go, ${SEEDS_REPLICATED} seeds from ${first}`, () =>
    simulateAll(first, SEEDS_REPLICATED, { replicated: true }));
}

async function simulateAll(
  first: number,
  count: number,
  options: SimulationOptions,
): Promise<void> {
  const hosts = await SimulationHosts.open();
  try {
    for (let seed = first; seed < first + count; seed++) {
      await simulate(seed, hosts, options).catch((cause: unknown) => {
        throw new Error(`seed ${seed}`, { cause });
      });
    }
  } finally {
    await hosts.close();
  }
}
