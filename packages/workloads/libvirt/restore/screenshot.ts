/** Pictures of screens: libvirt gives what QEMU draws, as PPM (Netpbm: ppm, "raw" format). */
import { CofferError } from '@coffer/base';
import { encode } from 'fast-png';
import type { Screenshot } from '../connection.ts';

/** Magic, width, height, and the highest value of a colour, with white space between them. */
const HEAD = /^P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s/;
const HEAD_SIZE_MAX = 64;
const CHANNELS = 3;
const PIXELS_MAX = 64 * 1024 * 1024;

/** Fails with `libvirt-failed` when the picture is of no known kind. */
export function toPng({ mime, bytes }: Screenshot): Buffer {
  if (mime === 'image/png') return bytes;
  const head = HEAD.exec(bytes.subarray(0, HEAD_SIZE_MAX).toString('latin1'));
  const [width, height] = [Number(head?.[1]), Number(head?.[2])];
  const data = bytes.subarray(head?.[0].length);
  const isWhole = width * height <= PIXELS_MAX && data.length === width * height * CHANNELS;
  if (!head || !isWhole) throw new CofferError('libvirt-failed', { reason: 'no picture', mime });
  return Buffer.from(encode({ width, height, data, channels: CHANNELS, depth: 8 }));
}
