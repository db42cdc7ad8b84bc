import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { parseBytes } from './quantities.ts';

test('amounts are read with and without units', () => {
  const read = (text: string): number | undefined => parseBytes(text, '--limit');
  assert.equal(read('1'), 1);
  assert.equal(read('5M'), 5 * 1024 ** 2);
  assert.equal(read('1.5 GiB'), 1.5 * 1024 ** 3);
  assert.equal(read('20kb'), 20 * 1024);
  assert.equal(parseBytes(undefined, '--limit'), undefined);
});

test('what is no amount is refused', () => {
  for (const text of ['', '0', '-1', 'M', '5 apples', '1e9', '99999999999P', '1,5M']) {
    assert.throws(
      () => parseBytes(text, '--limit'),
      (error) => isCofferError(error, 'usage'),
      text,
    );
  }
});
