import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testRun } from '@coffer/base/testing/run.ts';
import type { WritableDisk } from '@coffer/disk/disk.ts';
import {
  chunkOf,
  DISK_CHUNK_BYTES,
  protectDisk,
  TestRepository,
} from '@coffer/repository/testing/test-repository.ts';
import { restoreDisk } from './disk.ts';

test('a restore that failed has ended: nothing writes to the target any more', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const chunks = Array.from({ length: 200 }, (_each, index) => chunkOf(index, DISK_CHUNK_BYTES));
  const point = await protectDisk(repository, chunks);
  const gate = Promise.withResolvers<void>();
  let [begun, ended] = [0, 0];
  const unused = (): never => assert.fail('it is written to only');
  const target: WritableDisk = {
    sizeBytes: chunks.length * DISK_CHUNK_BYTES,
    read: unused,
    extents: unused,
    write: async () => {
      if (++begun === 3) throw new Error('the target breaks');
      await gate.promise;
      ended++;
    },
    zero: unused,
    flush: unused,
    close: unused,
  };
  const { root, sizeBytes } = point.roots[0]!;
  const restoring = restoreDisk(testRun(), {
    reader: repository.reader(),
    work: repository.work,
    source: { root: Buffer.from(root, 'hex'), sizeBytes },
    target,
    mode: 'onto-zeroes',
  });
  setImmediate(() => gate.resolve());
  await assert.rejects(restoring, /the target breaks/);
  assert.equal(ended, begun - 1);
});
