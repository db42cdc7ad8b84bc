import assert from 'node:assert/strict';
import { test } from 'node:test';
import { estimateScratchBytes } from './scratch-estimate.ts';

const GIB = 1024 ** 3;
const HOUR_MS = 3_600_000;

const demand = (change: Partial<Parameters<typeof estimateScratchBytes>[0]>): number =>
  estimateScratchBytes({
    readBytes: 10 * GIB,
    dirtyBytes: GIB,
    dirtyForMs: HOUR_MS,
    allocatedBytes: 100 * GIB,
    ...change,
  });

test('more is needed where more is read, and where the guest writes more', () => {
  assert.ok(demand({ readBytes: 20 * GIB }) > demand({}));
  assert.ok(demand({ dirtyBytes: 2 * GIB }) > demand({}));
  assert.ok(demand({ dirtyForMs: 10 * HOUR_MS }) < demand({}));
});

test('it is never more than what is allocated, and never nothing', () => {
  assert.equal(demand({ dirtyBytes: 1000 * GIB, allocatedBytes: GIB }), GIB);
  assert.equal(demand({ dirtyBytes: 0 }), 32 * 1024 * 1024);
  assert.equal(demand({ allocatedBytes: 0, readBytes: 0 }), 32 * 1024 * 1024);
});

test('without a count, a usual machine is assumed', () => {
  // A tebibyte whose first backup takes about 31 hours at the slowest pace.
  const bytes = demand({
    dirtyBytes: undefined,
    readBytes: 1024 * GIB,
    allocatedBytes: 1024 * GIB,
  });
  assert.ok(bytes > 200 * GIB && bytes < 300 * GIB, String(bytes / GIB));
});
