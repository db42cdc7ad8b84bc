import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { decode } from 'fast-png';
import { toPng } from './screenshot.ts';

const ppm = (head: string, pixels: number[]): Buffer =>
  Buffer.concat([Buffer.from(head), Buffer.from(pixels)]);

test('a picture of QEMU becomes one that every program shows', () => {
  const bytes = ppm('P6\n2 1\n255\n', [255, 0, 0, 0, 0, 255]);
  const { width, height, data, channels } = decode(
    toPng({ mime: 'image/x-portable-pixmap', bytes }),
  );
  assert.deepEqual([width, height, channels], [2, 1, 3]);
  assert.deepEqual([...data], [255, 0, 0, 0, 0, 255]);
});

test('a PNG stays as it is', () => {
  const bytes = Buffer.from('anything');
  assert.equal(toPng({ mime: 'image/png', bytes }), bytes);
});

test('what is no picture, or not whole, is refused', () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('hello'),
    ppm('P6\n2 2\n255\n', [1, 2, 3]),
    ppm('P6\n99999 99999\n255\n', [1, 2, 3]),
    ppm('P6\n1 1\n65535\n', [1, 2, 3, 4, 5, 6]),
  ]) {
    const refused = (error: unknown): boolean => isCofferError(error, 'libvirt-failed');
    assert.throws(() => toPng({ mime: 'image/x-portable-pixmap', bytes }), refused);
  }
});
