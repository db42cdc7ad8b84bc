import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { it } from 'node:test';
import { systemClock } from '@coffer/base';
import { readWhole } from './http-body.ts';
import { failsWith } from './testing/expectations.ts';

const TIB = 1024 ** 4;
const ANSWER = { range: undefined, signal: undefined, clock: systemClock };

it('takes no memory for what a server announces and does not send', async () => {
  const body = Readable.from([Buffer.from('abc')]);
  const read = readWhole('a', { body, length: TIB, ...ANSWER }, { sizeBytesMax: TIB });
  await failsWith('store-unavailable', read);
});

it('ends an answer that is larger than asked for before it is read', async () => {
  let pieces = 0;
  const body = Readable.from(
    (function* () {
      for (; ; pieces++) yield Buffer.alloc(1000);
    })(),
  );
  const read = readWhole('a', { body, length: 11, ...ANSWER }, { sizeBytesMax: 10 });
  await failsWith('object-damaged', read);
  assert.equal(pieces, 0);
  assert.ok(body.destroyed);
});

it('ends an answer that goes on after its announced end', async () => {
  const body = Readable.from([Buffer.alloc(6), Buffer.alloc(6)]);
  const read = readWhole('a', { body, length: 10, ...ANSWER }, { sizeBytesMax: 20 });
  await failsWith('store-unavailable', read);
});
