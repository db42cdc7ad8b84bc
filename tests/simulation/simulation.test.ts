import { it } from 'node:test';
import { systemRandom } from '@coffer/base';
import { simulate } from '@coffer/repository/testing/simulation.ts';
import { SimulationHosts } from '@coffer/repository/testing/simulation-hosts.ts';

/** A few seconds of what `npm run simulate` does for as long as one likes. */
const SEEDS = 30;

for (const first of [1, Math.floor(systemRandom.fraction() * 1e9)]) {
  it(`loses nothing but what an adversary takes, ${SEEDS} seeds from ${first}`, async () => {
    const hosts = await SimulationHosts.open();
    try {
      for (let seed = first; seed < first + SEEDS; seed++) {
        await simulate(seed, hosts).catch((cause: unknown) => {
          throw new Error(`seed ${seed}`, { cause });
        });
      }
    } finally {
      await hosts.close();
    }
  });
}
