import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ContentPiece, type FileContent, isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { type ChunkId, idKey, ZERO_ID } from '../chunk/chunk-id.ts';
import { dataId, MemoryNodes } from '../testing/memory-nodes.ts';
import {
  ContentBuilder,
  contentPieces,
  isContentStored,
  PIECES_INLINE_MAX,
} from './content-tree.ts';

function piecesOf(count: number, from = 0): ContentPiece[] {
  return Array.from({ length: count }, (_, index) => ({
    id: (from + index) % 50 === 7 ? ZERO_ID : dataId(from + index),
    length: 1 + ((from + index) % 1000),
  }));
}

async function build(nodes: MemoryNodes, pieces: readonly ContentPiece[]): Promise<FileContent> {
  const builder = new ContentBuilder(nodes.write);
  for (const piece of pieces) await builder.add(piece);
  return await builder.finish();
}

async function read(nodes: MemoryNodes, content: FileContent): Promise<ContentPiece[]> {
  const pieces: ContentPiece[] = [];
  for await (const piece of contentPieces(nodes.reader, content)) pieces.push(piece);
  return pieces;
}

test('the pieces of a file are read as they were added, few or many', async () => {
  const counts = fc.oneof(fc.nat(20), fc.nat(3000), fc.constantFrom(63, 64, 65, 2048, 2049));
  await fc.assert(
    fc.asyncProperty(counts, async (count) => {
      const nodes = new MemoryNodes();
      const content = await build(nodes, piecesOf(count));
      assert.equal(content.form, count <= PIECES_INLINE_MAX ? 'pieces' : 'tree');
      assert.deepEqual(await read(nodes, content), piecesOf(count));
    }),
    { numRuns: 30 },
  );
});

test('a tree over a tree reads as it was added', async () => {
  const nodes = new MemoryNodes();
  const pieces = piecesOf(60_000);
  const content = await build(nodes, pieces);
  assert.ok(nodes.count > 64, 'groups are enough for several levels');
  assert.deepEqual(await read(nodes, content), pieces);
});

test('an insertion changes the nodes near it only', async () => {
  const nodes = new MemoryNodes();
  const pieces = piecesOf(60_000);
  await build(nodes, pieces);
  const before = nodes.count;
  await build(nodes, pieces.toSpliced(30_000, 0, { id: dataId(999_999), length: 5 }));
  assert.ok(nodes.count - before <= 6, `${nodes.count - before} nodes are new`);
});

test('content is stored when each of its chunks and nodes is', async () => {
  const nodes = new MemoryNodes();
  const pieces = piecesOf(6000);
  const content = await build(nodes, pieces);
  const stored = new Set([...pieces.map(({ id }) => idKey(id)), ...nodes.keys()]);
  const isStored = (id: ChunkId): boolean => stored.has(idKey(id));
  assert.ok(await isContentStored(nodes.reader, content, isStored));
  stored.delete(idKey(ZERO_ID));
  assert.ok(await isContentStored(nodes.reader, content, isStored));
  for (const key of [...nodes.keys(), idKey(dataId(0)), idKey(dataId(5999))]) {
    stored.delete(key);
    assert.ok(!(await isContentStored(nodes.reader, content, isStored)));
    stored.add(key);
  }
  const inline = await build(nodes, piecesOf(3));
  assert.ok(await isContentStored(nodes.reader, inline, isStored));
  stored.delete(idKey(dataId(1)));
  assert.ok(!(await isContentStored(nodes.reader, inline, isStored)));
});

test('a node that is no list of content is damage', async () => {
  const nodes = new MemoryNodes();
  const id = dataId(1);
  for (const body of [[1], [5, 1], [3], [3, 1, 1]]) {
    const root = await nodes.write([id], Buffer.from(body));
    await assert.rejects(read(nodes, { form: 'tree', root }), (error) =>
      isCofferError(error, 'object-damaged'),
    );
  }
});
