import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Extent } from '@coffer/disk/disk.ts';
import fc from 'fast-check';
import { type DiskSegment, diskSegments } from './disk-segments.ts';

const CHUNK = 8;

const cases = fc
  .record({
    lengths: fc.array(fc.record({ length: fc.integer({ min: 1, max: 40 }), data: fc.boolean() })),
    chunksMax: fc.integer({ min: 1, max: 5 }),
  })
  .map(({ lengths, chunksMax }) => {
    let offset = 0;
    const extents = lengths.map(({ length, data }): Extent => {
      offset += length;
      return { offset: offset - length, length, kind: data ? 'data' : 'zero' };
    });
    return { extents, sizeBytes: offset, chunksMax };
  });

async function segmentsOf(given: {
  extents: readonly Extent[];
  sizeBytes: number;
  chunksMax: number;
}): Promise<DiskSegment[]> {
  const segments: DiskSegment[] = [];
  const { extents, sizeBytes, chunksMax } = given;
  const range = { offset: 0, length: sizeBytes };
  const sizesOfChunks = { range, chunksMax, chunkSizeBytes: CHUNK };
  for await (const segment of diskSegments(extents, sizesOfChunks)) segments.push(segment);
  return segments;
}

test('a chunk is data when an extent of data touches it, and no other is', async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const { extents, sizeBytes, chunksMax } = given;
      const kinds: string[] = [];
      for (const { firstChunkIndex, chunkCount, kind } of await segmentsOf(given)) {
        assert.equal(firstChunkIndex, kinds.length, 'segments are in order, without gaps');
        assert.ok(chunkCount > 0 && (kind === 'zero' || chunkCount <= chunksMax));
        for (let index = 0; index < chunkCount; index++) kinds.push(kind);
      }
      const expected = Array.from({ length: Math.ceil(sizeBytes / CHUNK) }, (_, index) => {
        const [start, end] = [index * CHUNK, (index + 1) * CHUNK];
        const touches = (e: Extent): boolean => e.offset < end && e.offset + e.length > start;
        return extents.some((e) => e.kind === 'data' && touches(e)) ? 'data' : 'zero';
      });
      assert.deepEqual(kinds, expected);
    }),
    { numRuns: 500 },
  );
});

test('extents that say nothing of the end count as zeroes, and an empty disk has no segments', async () => {
  const extents: Extent[] = [{ offset: 0, length: 3, kind: 'data' }];
  assert.deepEqual(await segmentsOf({ extents, sizeBytes: 30, chunksMax: 4 }), [
    { firstChunkIndex: 0, chunkCount: 1, kind: 'data' },
    { firstChunkIndex: 1, chunkCount: 3, kind: 'zero' },
  ]);
  assert.deepEqual(await segmentsOf({ extents: [], sizeBytes: 0, chunksMax: 4 }), []);
});
