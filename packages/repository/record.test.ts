import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digest, isCofferError } from '@coffer/base';
import * as v from 'valibot';
import { count, decodeRecord, encodeChecked, hexOf } from './record.ts';

const Schema = v.object({ name: v.string(), size: count });
const VALUE = { name: 'Grüße\n"', size: 7 };
const decode = (bytes: Buffer): unknown => decodeRecord('hold', Schema, bytes, 'holds/x');

function framed(text: string): Buffer {
  const body = Buffer.from(text);
  return Buffer.concat([body, Buffer.from(`${digest(body).toString('hex')}\n`)]);
}

test('a record reads as it was written, and its lines are as the format says', () => {
  const bytes = encodeChecked('hold', Schema, VALUE);
  assert.deepEqual(decode(bytes), VALUE);
  assert.deepEqual(bytes, framed(`coffer hold 1\n${JSON.stringify(VALUE)}\n`));
});

test('any flipped bit is damage', () => {
  const bytes = encodeChecked('hold', Schema, VALUE);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assert.throws(
      () => decode(changed),
      (error) => isCofferError(error, 'object-damaged'),
    );
  }
});

test('any record that is cut off is damage', () => {
  const bytes = encodeChecked('hold', Schema, VALUE);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(
      () => decode(bytes.subarray(0, length)),
      (error) => isCofferError(error, 'object-damaged'),
    );
  }
});

test('other kinds, other programs and what is no JSON are damage; newer versions are told', () => {
  const check = (text: string, code: 'object-damaged' | 'repository-version'): void => {
    assert.throws(
      () => decode(framed(text)),
      (error) => isCofferError(error, code),
    );
  };
  check(`coffer point 1\n${JSON.stringify(VALUE)}\n`, 'object-damaged');
  check(`other hold 1\n${JSON.stringify(VALUE)}\n`, 'object-damaged');
  check('coffer hold 1\n{"name"\n', 'object-damaged');
  check('coffer hold 1\n{"name":"x","size":-1}\n', 'object-damaged');
  check('coffer hold 1\n{"name":"x"}\n', 'object-damaged');
  check('coffer hold 2\nanything\n', 'repository-version');
});

test('members that this version does not know are left out', () => {
  const bytes = framed(`coffer hold 1\n{"name":"x","size":1,"later":true}\n`);
  assert.deepEqual(decode(bytes), { name: 'x', size: 1 });
});

test('hexadecimal text has exactly its length, in lower case', () => {
  const schema = hexOf(2);
  for (const good of ['0000', 'beef']) assert.ok(v.is(schema, good));
  for (const bad of ['', 'bee', 'beeff', 'BEEF', 'beeg', 'beef\n']) assert.ok(!v.is(schema, bad));
});
