import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ChunkId, ZERO_ID } from '../chunk/chunk-id.ts';
import { GEOMETRY } from '../config.ts';
import { dataId, MemoryNodes } from '../testing/memory-nodes.ts';
import { DiskTreeBuilder } from './disk-tree.ts';
import { DiskTreeUpdate } from './disk-tree-update.ts';

const { diskChunkSizeBytes: CHUNK, nodeFanOut: FAN_OUT } = GEOMETRY;

async function build(nodes: MemoryNodes, ids: readonly ChunkId[]): Promise<ChunkId> {
  const builder = new DiskTreeBuilder(ids.length * CHUNK, nodes.write);
  for (const id of ids) await builder.add(id);
  return await builder.finish();
}

async function update(
  nodes: MemoryNodes,
  base: { root: ChunkId; count: number },
  count: number,
  changes: ReadonlyMap<number, ChunkId>,
): Promise<ChunkId> {
  const disk = { root: base.root, sizeBytes: base.count * CHUNK };
  const tree = new DiskTreeUpdate(nodes.reader, disk, count * CHUNK, nodes.write);
  for (const [index, id] of [...changes].sort(([a], [b]) => a - b)) await tree.set(index, id);
  return await tree.finish();
}

const counts = fc.oneof(
  fc.integer({ min: 1, max: 6 }),
  fc.constantFrom(FAN_OUT - 1, FAN_OUT, FAN_OUT + 1, 2 * FAN_OUT + 3),
);

test('an updated tree is the tree that would be built anew', async () => {
  const arbitrary = fc.record({
    count: counts,
    more: fc.oneof(fc.constant(0), counts),
    isData: fc.func(fc.boolean()),
    changes: fc.array(fc.tuple(fc.nat(), fc.option(fc.nat({ max: 1000 }))), { maxLength: 12 }),
  });
  await fc.assert(
    fc.asyncProperty(arbitrary, async ({ count, more, isData, changes }) => {
      const nodes = new MemoryNodes();
      const ids = Array.from({ length: count }, (_, index) =>
        isData(index) ? dataId(index) : ZERO_ID,
      );
      const root = await build(nodes, ids);
      const after = [...ids, ...Array<ChunkId>(more).fill(ZERO_ID)];
      const changed = new Map<number, ChunkId>();
      for (const [place, value] of changes) {
        const index = place % after.length;
        changed.set(index, value === null ? ZERO_ID : dataId(100_000 + value));
      }
      for (const [index, id] of changed) after[index] = id;
      const updated = await update(nodes, { root, count }, after.length, changed);
      assert.deepEqual(updated, await build(new MemoryNodes(), after));
    }),
    { numRuns: 60 },
  );
});

test('one changed chunk of 16 TiB reads and writes a node a level', async () => {
  const count = (16 * 2 ** 40) / CHUNK;
  const nodes = new MemoryNodes();
  const builder = new DiskTreeBuilder(count * CHUNK, nodes.write);
  await builder.addZeroes(count - 1);
  await builder.add(dataId(1));
  const root = await builder.finish();
  const before = nodes.count;
  await update(nodes, { root, count }, count, new Map([[12_345_678, dataId(2)]]));
  assert.equal(nodes.count, before + 3);
});

test('a disk that only grew to more levels is written as such', async () => {
  const nodes = new MemoryNodes();
  const ids = Array.from({ length: 5 }, (_, index) => dataId(index));
  const root = await build(nodes, ids);
  const count = FAN_OUT ** 2 + 7;
  const grown = await update(nodes, { root, count: 5 }, count, new Map());
  const builder = new DiskTreeBuilder(count * CHUNK, new MemoryNodes().write);
  for (const id of ids) await builder.add(id);
  await builder.addZeroes(count - 5);
  assert.deepEqual(grown, await builder.finish());
});
