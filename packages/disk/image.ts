/**
 * Opens and makes disk images of every format that Coffer knows. The code of a format is loaded with the
 * first image that has it.
 */
import { closeSync, fstatSync, readSync } from 'node:fs';
import { type Clock, CofferError, isCofferError, type Random, systemErrorCode } from '@coffer/base';
import { sizeOf } from '@coffer/base/libc.ts';
import type { Disk, WritableDisk } from './disk.ts';
import {
  detectImageFormat,
  IMAGE_HEAD_SIZE_BYTES,
  IMAGE_TAIL_SIZE_BYTES,
  type ImageFormat,
} from './image-format.ts';
import { openExisting, refuseBusy } from './qemu/lock.ts';
import { createRawDisk, openRawDisk, openWritableRawDisk } from './raw.ts';

const vhd = () => import('./vhd/vhd.ts');
const vhdx = () => import('./vhdx/vhdx.ts');
const qemuImage = () => import('./qemu/qemu-image.ts');

export interface OpenImageOptions {
  /** Undefined: it is told from the bytes. */
  readonly format?: ImageFormat | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Opens an image or block device for reading. Fails with `source-not-found` or `source-unreadable`,
 * with `image-busy` when a running machine writes to it, and with the codes of its format.
 */
export async function openImage(path: string, options: OpenImageOptions): Promise<Disk> {
  const format = options.format ?? imageFormatOf(path);
  refuseBusy(path);
  switch (format) {
    case 'raw':
      return await openRawDisk(path);
    case 'vhd':
      return await (await vhd()).openVhd(path);
    case 'vhdx':
      return await (await vhdx()).openVhdx(path);
    case 'qcow2':
    case 'vmdk':
    case 'vdi':
      return await (
        await qemuImage()
      ).openQemuImage(path, { ...qemuOptions(options), format, writable: false });
  }
}

/** Opens an existing image or block device for writing. Fails as `openImage`. */
export async function openWritableImage(
  path: string,
  options: OpenImageOptions,
): Promise<WritableDisk> {
  const format = options.format ?? imageFormatOf(path);
  refuseBusy(path);
  switch (format) {
    case 'raw':
      return await openWritableRawDisk(path);
    case 'vhd':
      return await (await vhd()).openWritableVhd(path);
    case 'vhdx':
      return await (await vhdx()).openWritableVhdx(path, options);
    case 'qcow2':
    case 'vmdk':
    case 'vdi':
      return await (
        await qemuImage()
      ).openQemuImage(path, { ...qemuOptions(options), format, writable: true });
  }
}

export interface NewImage {
  readonly path: string;
  readonly format: ImageFormat;
  readonly sizeBytes: number;
  /** Of VHD and VHDX: whether all its space is taken from the beginning. */
  readonly subformat: 'fixed' | 'dynamic';
}

/** Makes an image of zeroes. Fails with `target-unwritable` when there is a file of that name. */
export async function createImage(
  image: NewImage,
  options: OpenImageOptions,
): Promise<WritableDisk> {
  const { path, format, subformat } = image;
  const { clock, random } = options;
  // No format but raw has parts of a sector.
  const sizeBytes = format === 'raw' ? image.sizeBytes : Math.ceil(image.sizeBytes / 512) * 512;
  switch (format) {
    case 'raw':
      return await createRawDisk(path, sizeBytes);
    case 'vhd':
      return await (
        await import('./vhd/create.ts')
      ).createVhd(path, { sizeBytes, subformat, clock, random });
    case 'vhdx':
      return await (
        await import('./vhdx/create.ts')
      ).createVhdx(path, { sizeBytes, subformat, random });
    case 'qcow2':
      return await (await import('./qcow2/create.ts')).createQcow2(path, sizeBytes);
    case 'vmdk':
    case 'vdi': {
      const { createQemuImage, openQemuImage } = await qemuImage();
      await createQemuImage(path, sizeBytes, format);
      return await openQemuImage(path, { ...qemuOptions(options), format, writable: true });
    }
  }
}

/**
 * The format of a file, told from its bytes; a block device is always raw, since whoever uses it can
 * write anything to its beginning. Fails with `source-not-found` or `source-unreadable`.
 */
function imageFormatOf(path: string): ImageFormat {
  const fd = openExisting(path);
  try {
    if (!fstatSync(fd).isFile()) return 'raw';
    const head = Buffer.alloc(IMAGE_HEAD_SIZE_BYTES);
    const tail = Buffer.alloc(IMAGE_TAIL_SIZE_BYTES);
    readSync(fd, head, 0, head.length, 0);
    readSync(fd, tail, 0, tail.length, Math.max(0, sizeOf(fd) - tail.length));
    const format = detectImageFormat(head, tail);
    refuseDisguised(path, format);
    return format;
  } catch (error) {
    if (isCofferError(error)) throw error;
    throw new CofferError('source-unreadable', { path, reason: systemErrorCode(error) }, error);
  } finally {
    closeSync(fd);
  }
}

/** A guest writes all of a raw image, and may write what begins another format: then nobody guesses. */
function refuseDisguised(path: string, found: ImageFormat): void {
  if (found === 'raw' || !/\.raw$/i.test(path)) return;
  const reason = `its name says raw, its first bytes ${found}: say --format`;
  throw new CofferError('image-format-unknown', { path, reason });
}

function qemuOptions({ format, clock }: OpenImageOptions): {
  clock: Clock;
  mayReferToOthers: boolean;
} {
  return { clock, mayReferToOthers: format !== undefined };
}
