import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { parseBytes, parseRates } from './quantities.ts';

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

test('rates are read, with the hours that they are for', () => {
  const read = (text: string): unknown => parseRates(text, '--limit-rate');
  const mib = 1024 ** 2;
  assert.deepEqual(parseRates(undefined, '--limit-rate'), []);
  assert.deepEqual(read('20M'), [{ bytesPerSecondMax: 20 * mib, hours: undefined }]);
  assert.deepEqual(read('5M@8:00-18:30,1M@22:00-24:00,50M'), [
    { bytesPerSecondMax: 5 * mib, hours: { fromMinute: 480, toMinute: 1110 } },
    { bytesPerSecondMax: mib, hours: { fromMinute: 1320, toMinute: 1440 } },
    { bytesPerSecondMax: 50 * mib, hours: undefined },
  ]);
});

test('what is no rate, or no hours, is refused', () => {
  const hours = ['8-18', '08:00', '08:00-08:00', '25:00-26:00', '08:60-09:00', '24:01-08:00', ''];
  for (const text of [
    '',
    '5M,',
    'M@08:00-18:00',
    '5M@1:00-2:00@3',
    ...hours.map((h) => `5M@${h}`),
  ]) {
    assert.throws(
      () => parseRates(text, '--limit-rate'),
      (error) => isCofferError(error, 'usage'),
      text,
    );
  }
});
