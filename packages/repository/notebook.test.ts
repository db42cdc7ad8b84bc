import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { ChunkHasher, type ChunkId } from './chunk/chunk-id.ts';
import { Notebook } from './notebook.ts';
import { encodeNodeHead } from './tree/node-codec.ts';
import type { Node } from './tree/node-reader.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-notebook-'));
after(() => rmSync(base, { recursive: true }));

const hashKey = Buffer.alloc(32, 7);
const hasher = new ChunkHasher(hashKey);
const [FIRST, SECOND] = ['1'.repeat(32), '2'.repeat(32)] as const;

function codeOf(error: unknown): string {
  return isCofferError(error) ? error.code : 'another failure';
}

let path: string;
beforeEach(() => {
  path = join(mkdtempSync(join(base, 'test-')), 'folder', 'notebook');
});

function node(text: string, ...children: readonly ChunkId[]): Node & { readonly id: ChunkId } {
  const body = Buffer.from(text);
  return { id: hasher.node(encodeNodeHead(children), body), children, body };
}

const leaf = node('leaf', Buffer.alloc(32, 1), Buffer.alloc(32, 2));
const root = node('root'.repeat(1000), leaf.id);

function written(nodes: readonly (Node & { readonly id: ChunkId })[], point: string): void {
  using notebook = new Notebook({ path, hashKey, point: undefined });
  for (const each of nodes) notebook.add(each.id, each);
  notebook.finish(point);
}

test('what was noted of a point is read again, and by nobody else', async () => {
  written([leaf, root], FIRST);
  using notebook = new Notebook({ path, hashKey, point: FIRST });
  assert.ok(notebook.isOfPoint);
  for (const { id, children, body } of [root, leaf]) {
    assert.deepEqual(await notebook.readNode(id), { children, body });
  }
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
});

test('what was read is remembered for the next point, and what was not is forgotten', async () => {
  written([leaf, root], FIRST);
  {
    using notebook = new Notebook({ path, hashKey, point: FIRST });
    await notebook.readNode(leaf.id);
    notebook.finish(SECOND);
  }
  using notebook = new Notebook({ path, hashKey, point: SECOND });
  await notebook.readNode(leaf.id);
  await assert.rejects(notebook.readNode(root.id), { code: 'chunk-missing' });
});

test('a notebook of another point, or of nothing, is of no use', () => {
  written([leaf], FIRST);
  const isOf = (point: string): boolean => {
    using notebook = new Notebook({ path, hashKey, point });
    return notebook.isOfPoint;
  };
  assert.deepEqual([isOf(FIRST), isOf(SECOND)], [true, false]);
  rmSync(path);
  assert.equal(isOf(FIRST), false);
});

test('a run that ends without a point leaves the last notebook, and nothing beside it', async () => {
  written([leaf], FIRST);
  {
    using notebook = new Notebook({ path, hashKey, point: FIRST });
    notebook.add(root.id, root);
  }
  using notebook = new Notebook({ path, hashKey, point: FIRST });
  await notebook.readNode(leaf.id);
  await assert.rejects(notebook.readNode(root.id), { code: 'chunk-missing' });
});

test('a notebook that is damaged anywhere gives nothing that is not true', async () => {
  written([leaf, root], FIRST);
  const bytes = readFileSync(path);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 0x55;
    writeFileSync(path, damaged);
    using notebook = new Notebook({ path, hashKey, point: FIRST });
    for (const each of [leaf, root]) {
      const { id, children, body } = each;
      const read = await notebook.readNode(id).catch(codeOf);
      if (typeof read === 'string') assert.match(read, /^chunk-(missing|damaged)$/);
      else assert.deepEqual(read, { children, body });
    }
  }
  for (let end = 0; end < bytes.length; end += 7) {
    writeFileSync(path, bytes.subarray(0, end));
    using notebook = new Notebook({ path, hashKey, point: FIRST });
    await notebook.readNode(root.id).catch(() => {});
  }
});

test('where no notebook can be written, nothing fails', () => {
  writeFileSync(join(path, '..', '..', 'file'), '');
  using notebook = new Notebook({
    path: join(path, '..', '..', 'file', 'notebook'),
    hashKey,
    point: FIRST,
  });
  notebook.add(leaf.id, leaf);
  notebook.finish(FIRST);
  assert.equal(notebook.isOfPoint, false);
  chmodSync(base, 0o700);
});
