import { after, before, describe, it } from 'node:test';
import { seededRandom, systemRandom } from '@coffer/base';
import { CrashSite } from './crash-site.ts';
import { backUp, ROUNDS } from './rounds.ts';

const ROUND_COUNT = 2;

for (const seed of [1, Math.floor(systemRandom.fraction() * 1e9)]) {
  describe(`processes that are killed, seed ${seed}`, { concurrency: false }, () => {
    let site: CrashSite;
    before(async () => {
      site = await CrashSite.make(seededRandom(seed));
      await backUp(site, 'files');
      await backUp(site, 'disk');
    });
    after(async () => await site.close());

    for (const [name, round] of Object.entries(ROUNDS)) {
      it(`a killed ${name} loses nothing, and the next one works`, async () => {
        for (let count = 0; count < ROUND_COUNT; count++) await round(site);
      });
    }

    it('collections leave no garbage of what was killed', async () => {
      for (const name of ['repo', 'copy'] as const) await site.checkNoGarbage(site.side(name));
    });
  });
}
