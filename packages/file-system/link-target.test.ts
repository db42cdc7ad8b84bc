import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linkTarget } from './link-target.ts';

test('a link leads to what is before the first zero byte', () => {
  assert.equal(String(linkTarget(Buffer.from('some\0where'))), 'some');
  assert.equal(String(linkTarget(Buffer.from('some/where'))), 'some/where');
  assert.equal(linkTarget(Buffer.from('\0where')), undefined);
});
