import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilePattern } from './glob.ts';

test('patterns mean names, or with a slash paths', () => {
  const cases: [pattern: string, path: string, isMatch: boolean][] = [
    ['*.odt', 'a/b/letter.odt', true],
    ['*.odt', 'letter.odt.bak', false],
    ['*', '.hidden', true],
    ['letter', 'a/letter', true],
    ['/letter', 'a/letter', false],
    ['/letter', 'letter', true],
    ['a/*', 'a/b', true],
    ['a/*', 'a/b/c', false],
    ['a/**', 'a/b/c', true],
    ['**/c', 'a/b/c', true],
    ['**/c', 'c', true],
    ['a/**/c', 'a/c', true],
    ['a/**/c', 'a/x/y/c', true],
    ['a/**/c', 'ab/c', false],
    ['file?', 'file1', true],
    ['file?', 'file', false],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[]]', ']', true],
    ['[', '[', true],
    [String.raw`\*`, '*', true],
    [String.raw`\*`, 'x', false],
    ['a.b+c(d)', 'a.b+c(d)', true],
    ['a.b', 'axb', false],
    ['*', 'new\nline', true],
    ['ümläut*', 'ümläut-x', true],
  ];
  for (const [pattern, path, isMatch] of cases) {
    assert.equal(compilePattern(pattern)(path, false), isMatch, `${pattern} and ${path}`);
  }
});

test('a slash at the end means folders', () => {
  assert.equal(compilePattern('docs/')('a/docs', true), true);
  assert.equal(compilePattern('docs/')('a/docs', false), false);
});

test('impossible patterns are wrong usage', () => {
  for (const pattern of ['', '/', '[z-a]']) {
    assert.throws(() => compilePattern(pattern), { code: 'usage' }, pattern);
  }
});
