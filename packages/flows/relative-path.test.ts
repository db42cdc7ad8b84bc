import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelativePath } from './relative-path.ts';

test('a path is its names with slashes between them, as bytes', () => {
  const path = RelativePath.ROOT.at(Buffer.from('a')).at(Buffer.of(0xe9)).at(Buffer.from('c'));
  assert.deepEqual(path.bytes, Buffer.from('a/\xe9/c', 'latin1'));
  assert.equal(path.key, 'a/\xe9/c');
  assert.equal(path.depth, 3);
  assert.equal(RelativePath.ROOT.key, '');
});

test('a path of 100,000 names is joined', () => {
  let path = RelativePath.ROOT;
  for (let level = 0; level < 100_000; level++) path = path.at(Buffer.from('d'));
  assert.equal(path.bytes.length, 199_999);
});
