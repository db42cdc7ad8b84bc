import assert from 'node:assert/strict';
import { it } from 'node:test';
import { seededRandom, systemRandom } from '@coffer/base';
import { PowerLoss } from './power-loss.ts';
import type { Step } from './recorded-calls.ts';

const STATES = 120;

const RUNS = [
  { seed: 1, place: 'with hard links' },
  { seed: Math.floor(systemRandom.fraction() * 1e9), place: 'with hard links' },
  { seed: Math.floor(systemRandom.fraction() * 1e9), place: 'without hard links' },
] as const;

for (const { seed, place } of RUNS) {
  it(`after a power loss all that was promised is there, ${place}, seed ${seed}`, async () => {
    const power = PowerLoss.open(seed);
    try {
      const record = await power.record(place === 'with hard links');
      for (let state = 0; state < STATES; state++) {
        const length = Math.ceil((record.length * (state + 1)) / STATES);
        const loss = (['random', 'all', 'none'] as const)[state % 3]!;
        await power.check(record, length, loss, seed + state);
      }
    } finally {
      await power.close();
    }
  });
}

/** How many of some states are broken, when some of the syncs had not been made. */
async function brokenWithout(isLeftOut: (step: Step) => boolean): Promise<number> {
  const power = PowerLoss.open(2);
  const random = seededRandom(2);
  let broken = 0;
  try {
    const record = (await power.record()).filter((step) => !isLeftOut(step));
    for (let state = 0; state < 30 && broken === 0; state++) {
      const length = Math.floor(record.length * (0.3 + 0.7 * random.fraction()));
      await power.check(record, length, 'random', state).catch(() => broken++);
    }
  } finally {
    await power.close();
  }
  return broken;
}

it('a store that does not sync its files would be found out', async () => {
  assert.ok((await brokenWithout(({ type }) => type === 'sync-file')) > 0);
});

it('a store that does not sync its folders would be found out', async () => {
  assert.ok((await brokenWithout(({ type }) => type === 'sync-folder')) > 0);
});
