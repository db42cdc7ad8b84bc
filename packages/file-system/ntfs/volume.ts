/** The volume below all other structures: its geometry, and reads that stay inside of it. */
import type { Disk } from '@coffer/disk/disk.ts';
import { CofferError } from '@coffer/base';
import { BOOT_BYTES, type Geometry, isBootSector, parseBootSector } from './boot-codec.ts';
import { damaged, Fields } from './fields.ts';

export interface Volume {
  readonly disk: Disk;
  readonly geometry: Geometry;
}

/**
 * Finds the boot sector, or its copy in the last sector. Fails with `file-system-unknown` when there
 * is neither.
 */
export async function openVolume(disk: Disk): Promise<Volume> {
  const geometry = (await bootAt(disk, 0)) ?? (await bootAt(disk, copyOffset(disk)));
  if (!geometry) throw new CofferError('file-system-unknown', { expected: 'ntfs' });
  return { disk, geometry };
}

function copyOffset({ sizeBytes }: Disk): number {
  return Math.max(0, Math.floor(sizeBytes / BOOT_BYTES) * BOOT_BYTES - BOOT_BYTES);
}

async function bootAt(disk: Disk, offset: number): Promise<Geometry | undefined> {
  if (disk.sizeBytes < offset + BOOT_BYTES) return undefined;
  const bytes = await readAt(disk, offset, BOOT_BYTES, 'boot sector');
  return isBootSector(bytes)
    ? parseBootSector(new Fields(bytes, 'boot sector', offset))
    : undefined;
}

export async function readAt(
  disk: Disk,
  offset: number,
  length: number,
  structure: string,
): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  await readInto(disk, offset, bytes, structure);
  return bytes;
}

/** Fails with `file-system-damaged` when the volume ends before. */
export async function readInto(
  disk: Disk,
  offset: number,
  target: Uint8Array,
  structure: string,
): Promise<void> {
  if (offset + target.length > disk.sizeBytes) {
    throw damaged(structure, offset, `the volume ends at ${disk.sizeBytes}`);
  }
  await disk.read(offset, target);
}
