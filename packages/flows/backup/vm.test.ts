import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ByteRange } from '@coffer/disk/disk.ts';
import { untoldBytes } from './vm.ts';

/** Ranges are written as `start-end`. */
function ranges(text: string): ByteRange[] {
  return text
    .split(' ')
    .filter((word) => word !== '')
    .map((word) => {
      const [start = 0, end = 0] = word.split('-').map(Number);
      return { offset: start, length: end - start };
    });
}

async function untold(differences: string, told: string, end = 1000): Promise<number> {
  async function* each(): AsyncGenerator<ByteRange> {
    yield* ranges(differences);
  }
  return await untoldBytes(each(), { told: ranges(told), end });
}

test('of what differs, what nobody has told is counted', async () => {
  assert.equal(await untold('', ''), 0);
  assert.equal(await untold('10-20', ''), 10);
  assert.equal(await untold('10-20', '0-100'), 0);
  assert.equal(await untold('10-20', '12-15'), 7);
  assert.equal(await untold('10-20 30-40', '0-12 18-35'), 6 + 5);
  assert.equal(await untold('10-20 30-40', '20-30'), 20);
  assert.equal(await untold('10-50', '0-11 20-21 30-31 49-60'), 40 - 1 - 1 - 1 - 1);
});

test('what a disk has grown by is not counted', async () => {
  assert.equal(await untold('10-20 95-120', '', 100), 10 + 5);
  assert.equal(await untold('110-120', '', 100), 0);
});
