import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom, systemRandom } from './random.ts';

test('seeded randomness repeats, and differs from seed to seed', () => {
  assert.deepEqual(seededRandom(7).bytes(100), seededRandom(7).bytes(100));
  assert.notDeepEqual(seededRandom(7).bytes(100), seededRandom(8).bytes(100));
  const random = seededRandom(7);
  assert.notDeepEqual(random.bytes(100), random.bytes(100));
});

test('fractions are from 0 up to 1', () => {
  for (const random of [seededRandom(0), systemRandom]) {
    for (let round = 0; round < 1000; round++) {
      const fraction = random.fraction();
      assert.ok(fraction >= 0 && fraction < 1);
    }
  }
});
