/** Pictures of screens: libvirt gives what QEMU draws, as PPM (Netpbm: ppm, "raw" format) or PNG. */
import { CofferError } from '@coffer/base';
import { decode, encode } from 'fast-png';
import type { Picture } from '../../vm-host.ts';
import type { Screenshot } from '../connection.ts';

/** Magic, width, height, and the highest value of a colour, with white space between them. */
const HEAD = /^P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s/;
const HEAD_SIZE_MAX = 64;
const CHANNELS = 3;
const PIXELS_MAX = 64 * 1024 * 1024;

/** Fails with `libvirt-failed` when the picture is of no known kind. */
export function pictureOf(screenshot: Screenshot): Picture {
  return new Rgb(screenshot.mime === 'image/png' ? fromPng(screenshot) : fromPpm(screenshot));
}

interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

class Rgb implements Picture {
  readonly #pixels: Pixels;

  constructor(pixels: Pixels) {
    this.#pixels = pixels;
  }

  toPng(): Buffer {
    return Buffer.from(encode({ ...this.#pixels, channels: CHANNELS, depth: 8 }));
  }

  changedPart(before: Picture): number {
    const [now, then] = [this.#pixels, before instanceof Rgb ? before.#pixels : undefined];
    if (then?.width !== now.width || then.height !== now.height) return 1;
    let changed = 0;
    for (let at = 0; at < now.data.length; at += CHANNELS) {
      const isSame =
        now.data[at] === then.data[at] &&
        now.data[at + 1] === then.data[at + 1] &&
        now.data[at + 2] === then.data[at + 2];
      if (!isSame) changed++;
    }
    return changed / Math.max(1, now.width * now.height);
  }
}

function fromPpm({ mime, bytes }: Screenshot): Pixels {
  const head = HEAD.exec(bytes.subarray(0, HEAD_SIZE_MAX).toString('latin1'));
  const [width, height] = [Number(head?.[1]), Number(head?.[2])];
  const data = bytes.subarray(head?.[0].length);
  const isWhole = width * height <= PIXELS_MAX && data.length === width * height * CHANNELS;
  if (!head || !isWhole) throw new CofferError('libvirt-failed', { reason: 'no picture', mime });
  return { width, height, data };
}

function fromPng({ mime, bytes }: Screenshot): Pixels {
  try {
    const { width, height, data, channels } = decode(bytes);
    if (channels === CHANNELS && data instanceof Uint8Array) return { width, height, data };
  } catch (error) {
    throw new CofferError('libvirt-failed', { reason: 'no picture', mime }, error);
  }
  throw new CofferError('libvirt-failed', { reason: 'a picture of an unknown kind', mime });
}
