import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { seededRandom, systemRandom } from '@coffer/base';
import { CrashSite, gcOf } from './crash-site.ts';
import { stateOf } from './random-source.ts';
import { backUp } from './rounds.ts';

const ROUNDS = 2;

for (const seed of [1, Math.floor(systemRandom.fraction() * 1e9)]) {
  it(`two writers, a collection and a restore at once lose nothing, seed ${seed}`, () =>
    allAtOnce(seed));
}

async function allAtOnce(seed: number): Promise<void> {
  const site = await CrashSite.make(seededRandom(seed));
  const side = site.side('repo');
  try {
    await backUp(site, 'files');
    await backUp(site, 'disk');
    for (let round = 0; round < ROUNDS; round++) {
      for (const kind of ['files', 'disk'] as const) site.source.change(kind);
      await site.removeSome(side, 3);
      const [point] = await side.repository.points();
      const target = join(site.folder, 'target');
      rmSync(target, { recursive: true, force: true });
      const [, , gc] = await Promise.all([
        backUp(site, 'files'),
        backUp(site, 'disk'),
        site.run('repo', gcOf(side), 'never'),
        site.done('repo', ['restore', point!.id, '--to', target]),
      ]);
      assert.equal(gc.code, 0, gc.stderr);
      const { kind, state } = side.promised.get(point!.id)!;
      assert.equal(stateOf(target, kind), state, 'the restore is whole');
      await site.check(side, 'none');
    }
    await site.checkNoGarbage(side);
  } finally {
    await site.close();
  }
}
