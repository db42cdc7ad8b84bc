import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { type ChunkId, ZERO_ID } from '../chunk/chunk-id.ts';
import { GEOMETRY } from '../config.ts';
import { dataId, MemoryNodes } from '../testing/memory-nodes.ts';
import { diskChunkCount, diskLeaves, DiskTreeBuilder, diskTreeLevels } from './disk-tree.ts';

const { diskChunkSizeBytes: CHUNK, nodeFanOut: FAN_OUT } = GEOMETRY;
const TIB = 2 ** 40;

/** Zeroes and data in runs; undefined stands for zeroes. */
type Runs = readonly { readonly count: number; readonly data: boolean }[];

const runs: fc.Arbitrary<Runs> = fc.array(
  fc.record({
    count: fc.oneof(
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom(FAN_OUT - 1, FAN_OUT, FAN_OUT + 1, 2 * FAN_OUT),
    ),
    data: fc.boolean(),
  }),
  { minLength: 1, maxLength: 6 },
);

function idsOf(list: Runs): ChunkId[] {
  return list.flatMap(({ count, data }, run) =>
    Array.from({ length: count }, (_, index) => (data ? dataId(run * 10_000 + index) : ZERO_ID)),
  );
}

async function build(nodes: MemoryNodes, ids: readonly ChunkId[]): Promise<ChunkId> {
  const builder = new DiskTreeBuilder(ids.length * CHUNK, nodes.write);
  for (const id of ids) await builder.add(id);
  return await builder.finish();
}

async function read(nodes: MemoryNodes, root: ChunkId, count: number): Promise<ChunkId[]> {
  const ids: ChunkId[] = [];
  for await (const leaf of diskLeaves(nodes.reader, { root, sizeBytes: count * CHUNK })) {
    assert.equal(leaf.firstChunkIndex, ids.length);
    ids.push(...(leaf.ids ?? Array<ChunkId>(leaf.chunkCount).fill(ZERO_ID)));
    assert.equal(ids.length, leaf.firstChunkIndex + leaf.chunkCount);
  }
  return ids;
}

test('levels follow from the size: three of them hold 32 TiB', () => {
  const levels: [sizeBytes: number, levels: number][] = [
    [0, 1],
    [1, 1],
    [FAN_OUT * CHUNK, 1],
    [FAN_OUT * CHUNK + 1, 2],
    [FAN_OUT ** 2 * CHUNK, 2],
    [FAN_OUT ** 2 * CHUNK + 1, 3],
    [32 * TIB, 3],
    [32 * TIB + 1, 4],
  ];
  for (const [sizeBytes, expected] of levels) assert.equal(diskTreeLevels(sizeBytes), expected);
  assert.deepEqual([0, 1, CHUNK, CHUNK + 1].map(diskChunkCount), [0, 1, 1, 2]);
});

test('the ids of a disk are read as they were added', async () => {
  await fc.assert(
    fc.asyncProperty(runs, async (list) => {
      const nodes = new MemoryNodes();
      const ids = idsOf(list);
      assert.deepEqual(await read(nodes, await build(nodes, ids), ids.length), ids);
    }),
    { numRuns: 30 },
  );
});

test('zeroes that are added in runs make the same tree as one by one', async () => {
  await fc.assert(
    fc.asyncProperty(runs, async (list) => {
      const ids = idsOf(list);
      const nodes = new MemoryNodes();
      const builder = new DiskTreeBuilder(ids.length * CHUNK, nodes.write);
      let next = 0;
      for (const { count, data } of list) {
        if (data) for (const id of ids.slice(next, next + count)) await builder.add(id);
        else await builder.addZeroes(count);
        next += count;
      }
      assert.deepEqual(await builder.finish(), await build(new MemoryNodes(), ids));
    }),
    { numRuns: 40 },
  );
});

test('a disk of zeroes is the zero id, of any size and without a node', async () => {
  for (const count of [0, 1, FAN_OUT, FAN_OUT + 1, FAN_OUT ** 2 + 3, 32 * (TIB / CHUNK)]) {
    const nodes = new MemoryNodes();
    const builder = new DiskTreeBuilder(count * CHUNK, nodes.write);
    await builder.addZeroes(count);
    assert.deepEqual(await builder.finish(), ZERO_ID);
    assert.equal(nodes.count, 0);
    let covered = 0;
    const disk = { root: ZERO_ID, sizeBytes: count * CHUNK };
    for await (const leaf of diskLeaves(nodes.reader, disk)) covered += leaf.chunkCount;
    assert.equal(covered, count);
  }
});

test('one chunk at the end of 32 TiB takes one node a level', async () => {
  const count = (32 * TIB) / CHUNK;
  const nodes = new MemoryNodes();
  const builder = new DiskTreeBuilder(32 * TIB, nodes.write);
  await builder.addZeroes(count - 1);
  await builder.add(dataId(1));
  const root = await builder.finish();
  assert.equal(nodes.count, 3);
  const data: number[] = [];
  for await (const leaf of diskLeaves(nodes.reader, { root, sizeBytes: 32 * TIB })) {
    leaf.ids?.forEach((id, index) => {
      if (!id.equals(ZERO_ID)) data.push(leaf.firstChunkIndex + index);
    });
  }
  assert.deepEqual(data, [count - 1]);
});

test('a changed chunk changes one node a level, and all others are shared', async () => {
  const ids = Array.from({ length: 3 * FAN_OUT }, (_, index) => dataId(index));
  const nodes = new MemoryNodes();
  await build(nodes, ids);
  const before = nodes.count;
  await build(nodes, ids.with(700, dataId(99_999)));
  assert.equal(nodes.count, before + 2);
});

test('a tree that is not of its size is damage', async () => {
  const nodes = new MemoryNodes();
  const root = await build(nodes, idsOf([{ count: 10, data: true }]));
  for (const count of [9, 11, FAN_OUT + 1]) {
    await assert.rejects(read(nodes, root, count), (error) =>
      isCofferError(error, 'chunk-damaged'),
    );
  }
});

test('more chunks than the size says are a broken invariant', async () => {
  const builder = new DiskTreeBuilder(FAN_OUT * CHUNK, new MemoryNodes().write);
  for (let index = 0; index < FAN_OUT; index++) await builder.add(dataId(index));
  await assert.rejects(builder.add(dataId(FAN_OUT)), /broken invariant/);
});
