/** Labels that are not among the first bytes of a volume, but in a file or a folder of it. */
import { type ErrorCode, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { readFatLabel } from '../fat/fat.ts';
import { readNtfsLabel } from '../ntfs/ntfs.ts';
import type { FileSystemKind } from './detect-codec.ts';

/** Undefined where the volume has none, is of another kind, or is damaged where it would be. */
export async function storedLabel(disk: Disk, kind: FileSystemKind): Promise<string | undefined> {
  try {
    return await READERS[kind]?.(disk);
  } catch (error) {
    if (isCofferError(error) && DAMAGE.has(error.code)) return undefined;
    throw error;
  }
}

/** What a volume is to blame for; `source-changed` is a volume that ends too early. */
const DAMAGE: ReadonlySet<ErrorCode> = new Set([
  'file-system-damaged',
  'file-system-unsupported',
  'file-system-unknown',
  'source-changed',
]);

const READERS: Partial<Record<FileSystemKind, (disk: Disk) => Promise<string | undefined>>> = {
  ntfs: async (disk) => (await readNtfsLabel(disk)).label || undefined,
  exfat: readFatLabel,
  fat12: readFatLabel,
  fat16: readFatLabel,
  fat32: readFatLabel,
};
