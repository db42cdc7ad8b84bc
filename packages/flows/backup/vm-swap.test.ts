import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testRun } from '@coffer/base/testing/run.ts';
import type { ByteRange } from '@coffer/disk/disk.ts';
import { memoryDisk } from '@coffer/file-system/testing/memory-disk.ts';
import type { CapturedDisk } from '@coffer/workloads/vm-capture.ts';
import { type LeftOut, withoutSwap } from './vm-swap.ts';

const MIB = 1024 * 1024;
const CRASH = { level: 'crash', reason: undefined, isFailure: false, frozenMs: 0 } as const;

function captured(name: string, changes: ByteRange[] | undefined): CapturedDisk {
  async function* each(): AsyncGenerator<ByteRange> {
    yield* changes ?? [];
  }
  return {
    name,
    format: 'raw',
    path: `/images/${name}`,
    identities: [],
    disk: memoryDisk(Buffer.alloc(MIB)),
    changes: changes && each(),
    reason: changes ? undefined : 'it is new',
  };
}

test('what the base has left out is read when it is swap no more', async () => {
  const before: LeftOut = [
    { disk: 'vda', area: 'p2', ranges: [{ offset: 100, length: 50 }] },
    { disk: 'vdb', area: 'p1', ranges: [{ offset: 7, length: 3 }] },
  ];
  for (const readsSwap of [true, false]) {
    const disks = [
      captured('vda', [
        { offset: 0, length: 10 },
        { offset: 120, length: 100 },
      ]),
      captured('vdb', []),
      captured('vdc', undefined),
    ];
    const read = await withoutSwap(testRun(), { disks, consistency: CRASH }, { readsSwap, before });
    assert.deepEqual(read.swap, []);
    const [vda, vdb, vdc] = read.disks;
    assert.deepEqual(await Array.fromAsync(vda!.changes!), [
      { offset: 0, length: 10 },
      { offset: 100, length: 50 },
      { offset: 150, length: 70 },
    ]);
    assert.deepEqual(await Array.fromAsync(vdb!.changes!), [{ offset: 7, length: 3 }]);
    assert.equal(vdc!.changes, undefined, 'all of it is read');
  }
});
