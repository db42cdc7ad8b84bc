import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { decode } from 'fast-png';
import type { Picture } from '../../vm-host.ts';
import { pictureOf } from './screenshot.ts';

const PPM = 'image/x-portable-pixmap';
const ppm = (head: string, pixels: number[]): Buffer =>
  Buffer.concat([Buffer.from(head), Buffer.from(pixels)]);

test('a picture of QEMU becomes one that every program shows', () => {
  const pixels = [255, 0, 0, 0, 0, 255];
  const png = pictureOf({ mime: PPM, bytes: ppm('P6\n2 1\n255\n', pixels) }).toPng();
  const { width, height, data, channels } = decode(png);
  assert.deepEqual([width, height, channels], [2, 1, 3]);
  assert.deepEqual([...data], pixels);
  assert.ok(pictureOf({ mime: 'image/png', bytes: png }).toPng().equals(png));
});

test('how much of a screen has changed is told', () => {
  const screen = (pixels: number[], size = '2 2'): Picture =>
    pictureOf({ mime: PPM, bytes: ppm(`P6\n${size}\n255\n`, pixels) });
  const black = screen([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  const cursor = screen([0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
  assert.equal(black.changedPart(black), 0);
  assert.equal(cursor.changedPart(black), 0.25);
  assert.equal(screen([0, 0, 0], '1 1').changedPart(black), 1, 'of another size');
});

test('what is no picture, or not whole, is refused', () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('hello'),
    ppm('P6\n2 2\n255\n', [1, 2, 3]),
    ppm('P6\n99999 99999\n255\n', [1, 2, 3]),
    ppm('P6\n1 1\n65535\n', [1, 2, 3, 4, 5, 6]),
  ]) {
    for (const mime of [PPM, 'image/png']) {
      const refused = (error: unknown): boolean => isCofferError(error, 'libvirt-failed');
      assert.throws(() => pictureOf({ mime, bytes }), refused);
    }
  }
});
