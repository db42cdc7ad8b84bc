import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { diskContract } from '@coffer/disk/testing/contract.ts';
import { memoryDisk } from '../testing/memory-disk.ts';
import { cachedDisk } from './cached-disk.ts';
import { joinedDisk, rangeDisk, stripedDisk } from './range-disk.ts';

const BYTES = seededRandom(1).bytes(1_000_003);

diskContract('cached disk', async () => ({
  disk: cachedDisk(memoryDisk(BYTES), 200_000),
  expected: BYTES,
}));

diskContract('range of a disk', async () => ({
  disk: rangeDisk(memoryDisk(BYTES), { offset: 1234, length: 700_000 }),
  expected: BYTES.subarray(1234, 701_234),
}));

diskContract('joined disks', async () => ({
  disk: joinedDisk([
    rangeDisk(memoryDisk(BYTES), { offset: 500_000, length: 100_000 }),
    rangeDisk(memoryDisk(BYTES), { offset: 0, length: 400_001 }),
    memoryDisk(Buffer.alloc(0)),
    rangeDisk(memoryDisk(BYTES), { offset: 400_001, length: 99_999 }),
  ]),
  expected: Buffer.concat([BYTES.subarray(500_000, 600_000), BYTES.subarray(0, 500_000)]),
}));

diskContract('striped disks', async () => {
  const stripes = Array.from({ length: 90 }, (_, index) =>
    BYTES.subarray(index * 10_000, (index + 1) * 10_000),
  );
  const parts = [0, 1, 2].map((turn) =>
    memoryDisk(Buffer.concat(stripes.filter((_, index) => index % 3 === turn))),
  );
  return { disk: stripedDisk(parts, 10_000), expected: BYTES.subarray(0, 900_000) };
});

test('readers of one block share its read, and what was read last is kept', async () => {
  const disk = memoryDisk(BYTES);
  let readCount = 0;
  const counting = {
    ...disk,
    async read(offset: number, target: Uint8Array) {
      readCount++;
      await disk.read(offset, target);
    },
  };
  const cached = cachedDisk(counting, 2 * 65_536);
  const read = async (offset: number) => await cached.read(offset, Buffer.alloc(100));
  await Promise.all([read(0), read(500), read(60_000)]);
  assert.equal(readCount, 1);
  await read(65_536);
  await read(0);
  assert.equal(readCount, 2, 'two blocks are kept');
  await read(200_000);
  await read(0);
  assert.equal(readCount, 3, 'the one used last is kept');
  await read(65_536);
  assert.equal(readCount, 4, 'the other is not');
});

test('a block whose read failed is read again', async () => {
  const disk = memoryDisk(BYTES);
  let isBroken = true;
  const broken = {
    ...disk,
    async read(offset: number, target: Uint8Array) {
      if (isBroken) throw new Error('broken');
      await disk.read(offset, target);
    },
  };
  const cached = cachedDisk(broken);
  await assert.rejects(cached.read(0, Buffer.alloc(10)), /broken/);
  isBroken = false;
  const bytes = Buffer.alloc(10);
  await cached.read(0, bytes);
  assert.ok(bytes.equals(BYTES.subarray(0, 10)));
});

test('reading beyond the end is told as damage', async () => {
  const disks = [cachedDisk(memoryDisk(BYTES)), joinedDisk([memoryDisk(BYTES)])];
  disks.push(rangeDisk(memoryDisk(BYTES), { offset: 10, length: BYTES.length }));
  for (const disk of disks) {
    for (const offset of [BYTES.length - 9, BYTES.length + 5, 2 ** 60, -1, Number.NaN]) {
      await assert.rejects(disk.read(offset, Buffer.alloc(10)), (error) =>
        isCofferError(error, 'file-system-damaged'),
      );
    }
  }
});
