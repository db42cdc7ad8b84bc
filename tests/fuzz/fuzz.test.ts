import assert from 'node:assert/strict';
import { it } from 'node:test';
import { systemRandom } from '@coffer/base';
import { fuzz } from './fuzz.ts';

const ROUNDS = 400;

for (const seed of [1, Math.floor(systemRandom.fraction() * 1e9)]) {
  it(`decoders refuse what nobody wrote, seed ${seed}`, async () => {
    const { inputCount, failedCount, findings } = await fuzz(seed, (round) => round < ROUNDS);
    assert.deepEqual(findings, []);
    assert.ok(failedCount > inputCount / 4, 'most inputs are refused');
  });
}
