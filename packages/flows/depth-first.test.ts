import assert from 'node:assert/strict';
import { test } from 'node:test';
import { depthFirst } from './depth-first.ts';

interface Tree {
  readonly name: string;
  readonly below?: readonly Tree[];
}

let openCount = 0;

async function* entriesOf(trees: readonly Tree[]): AsyncGenerator<Tree> {
  openCount++;
  try {
    yield* trees;
  } finally {
    openCount--;
  }
}

function walk(trees: readonly Tree[]): AsyncGenerator<Tree> {
  return depthFirst(entriesOf(trees), ({ below }) => below && entriesOf(below));
}

test('each folder comes before what is in it', async () => {
  const names: string[] = [];
  const trees = [{ name: 'a', below: [{ name: 'b', below: [] }, { name: 'c' }] }, { name: 'd' }];
  for await (const { name } of walk(trees)) names.push(name);
  assert.deepEqual(names, ['a', 'b', 'c', 'd']);
});

test('folders in one another have no depth that is too much', async () => {
  let tree: Tree = { name: 'innermost' };
  for (let depth = 0; depth < 100_000; depth++) tree = { name: 'folder', below: [tree] };
  let last = '';
  for await (const { name } of walk([tree])) last = name;
  assert.equal(last, 'innermost');
});

test('who stops in the midst leaves no folder open', async () => {
  for await (const { name } of walk([{ name: 'a', below: [{ name: 'b' }] }]))
    if (name === 'b') break;
  assert.equal(openCount, 0);
});
