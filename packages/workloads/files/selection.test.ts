import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ANSWERS_KEPT_MAX, excludeBy } from './selection.ts';

test('patterns hold for more paths than a matcher keeps answers for', () => {
  const isExcluded = excludeBy(['*.tmp', '!kept.tmp', 'build/']);
  for (let index = 0; index < ANSWERS_KEPT_MAX / 2; index++) {
    const path = (name: string): Buffer => Buffer.from(`folder/${index}/${name}`);
    assert.equal(isExcluded(path('a.tmp'), false), true);
    assert.equal(isExcluded(path('kept.tmp'), false), false);
    assert.equal(isExcluded(path('build'), true), true);
    assert.equal(isExcluded(path('build'), false), false);
  }
});
