/** Where a disk is restored to: a new image, an existing one, or a block device. */
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Clock, CofferError, type Random } from '@coffer/base';
import type { WritableDisk } from '@coffer/disk/disk.ts';
import { createImage, openWritableImage } from '@coffer/disk/image.ts';
import { type ImageFormat, imageFormatByName } from '@coffer/disk/image-format.ts';
import { syncFolder } from '../../record-folder.ts';
import type { Conflict } from '../conflict.ts';
import type { DiskRestoreMode } from './disk.ts';

export interface ImageChoice {
  /** Undefined: that of the existing image; for a new one what its name says, or else raw. */
  readonly format?: ImageFormat | undefined;
  readonly subformat: 'fixed' | 'dynamic';
}

interface Target {
  /** Absolute path. */
  readonly target: string;
  readonly conflict?: Conflict | undefined;
}

export interface DiskTargetOptions extends Target {
  readonly image: ImageChoice;
  readonly sizeBytes: number;
  readonly clock: Clock;
  readonly random: Random;
}

export interface OpenedTarget {
  readonly disk: WritableDisk;
  readonly mode: DiskRestoreMode;
  /** Gives the target its name. */
  finish(): Promise<void>;
  /** Leaves nothing half-done under the name, unless the target was there before. */
  discard(): Promise<void>;
}

/** Fails with `target-not-empty` when something is there that nobody said to write over. */
export function refuseOccupiedDisk({ target, conflict }: Target): void {
  if (conflict === 'delta' || conflict === 'overwrite' || !existsSync(target)) return;
  const stats = statSync(target);
  refuseOther(target);
  if (stats.isBlockDevice() || stats.size > 0)
    throw new CofferError('target-not-empty', { target });
}

/** Fails with `target-unwritable`: a rename would put an image in the place of a device or folder. */
function refuseOther(target: string): void {
  const stats = statSync(target, { throwIfNoEntry: false });
  if (!stats || stats.isFile() || stats.isBlockDevice()) return;
  const reason = 'it is neither a file nor a block device';
  throw new CofferError('target-unwritable', { path: target, reason });
}

export async function openDiskTarget(options: DiskTargetOptions): Promise<OpenedTarget> {
  const { target, conflict } = options;
  refuseOther(target);
  const isOpenedAsItIs =
    existsSync(target) && (conflict === 'delta' || statSync(target).isBlockDevice());
  return isOpenedAsItIs ? await openExisting(options) : await openNew(options);
}

/** Name of a new image until all of it is there. A killed run leaves it; the next one replaces it. */
export function partialPathOf(target: string): string {
  return `${target}.coffer-partial`;
}

/** Writes beside the final name, and renames when all is there. */
async function openNew(options: DiskTargetOptions): Promise<OpenedTarget> {
  const { target, image, sizeBytes, clock, random } = options;
  const partial = partialPathOf(target);
  rmSync(partial, { force: true });
  const format = image.format ?? imageFormatByName(target) ?? 'raw';
  const { subformat } = image;
  const newImage = { path: partial, format, subformat, sizeBytes };
  let disk: WritableDisk;
  try {
    disk = await createImage(newImage, { format, clock, random });
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
  return {
    disk,
    mode: 'onto-zeroes',
    finish: async () => {
      await disk.close();
      renameSync(partial, target);
      syncFolder(dirname(target));
    },
    discard: async () => {
      await disk.close().catch(() => {
        // Why the restore failed is told; that its remains could not be written, too, is not.
      });
      rmSync(partial, { force: true });
    },
  };
}

async function openExisting(options: DiskTargetOptions): Promise<OpenedTarget> {
  const { target, conflict, image, sizeBytes, clock, random } = options;
  const disk = await openWritableImage(target, { format: image.format, clock, random });
  if (disk.sizeBytes < sizeBytes) {
    await disk.close();
    throw new CofferError('target-too-small', { target, has: disk.sizeBytes, needs: sizeBytes });
  }
  const mode = conflict === 'delta' ? 'delta' : 'onto-anything';
  const close = async (): Promise<void> => await disk.close();
  return { disk, mode, finish: close, discard: close };
}
