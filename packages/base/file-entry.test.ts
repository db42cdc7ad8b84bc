import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFileName } from './file-entry.ts';

test('names that lead elsewhere or cannot be are refused, all others are taken', () => {
  for (const name of ['', '.', '..', '/', 'a/b', '../a', 'a\0b', 'x'.repeat(4096)]) {
    assert.equal(isFileName(Buffer.from(name, 'latin1')), false, JSON.stringify(name));
  }
  for (const name of ['...', '.a', '..a', ' ', '\n', '\\', '-rf', '\xff\xfe', 'x'.repeat(4095)]) {
    assert.equal(isFileName(Buffer.from(name, 'latin1')), true, JSON.stringify(name));
  }
});
