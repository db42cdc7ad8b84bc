import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { compress, decompressInto, type Effort, nextEffort } from './compression.ts';

test('who tries harder makes less, and all of it is read alike', () => {
  const plain = readFileSync(join(import.meta.dirname, '../FORMAT.md'));
  const lengths = ([0, 1, 2] as const).map((effort) => {
    const compressed = Buffer.from(compress(plain, effort) ?? assert.fail('it is compressible'));
    const read = Buffer.alloc(plain.length);
    assert.equal(decompressInto(compressed, read), plain.length);
    assert.ok(read.equals(plain));
    return compressed.length;
  });
  assert.ok(lengths[0]! > lengths[1]! && lengths[1]! > lengths[2]!, String(lengths));
});

test('effort grows as long as the store is behind, and ends with that', () => {
  const TABLE: readonly [effort: Effort, isStoreBehind: boolean, next: Effort][] = [
    [0, false, 0],
    [0, true, 1],
    [1, true, 2],
    [2, true, 2],
    [1, false, 0],
    [2, false, 0],
  ];
  for (const [effort, isBehind, next] of TABLE) assert.equal(nextEffort(effort, isBehind), next);
});
