/** Opens whatever file system is on a volume; the code of it is loaded with the first one. */
import { CofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import { cachedDisk } from './cached-disk.ts';
import { detectFileSystem } from './detect.ts';

/**
 * Opens the file system on a volume, read-only and without the kernel of this host. Closing it
 * closes the disk; where opening fails, the disk stays open. Fails with `volume-locked` when the volume is encrypted, `file-system-unknown`
 * when there is nothing that Coffer knows, `file-system-unsupported` and `file-system-damaged`.
 */
export async function openFileSystem(disk: Disk): Promise<FileSystem> {
  const cached = cachedDisk(disk);
  const { kind } = await detectFileSystem(cached);
  switch (kind) {
    case 'ext2':
    case 'ext3':
    case 'ext4':
      return await (await import('../ext4/ext4.ts')).openExt4(cached);
    case 'fat12':
    case 'fat16':
    case 'fat32':
    case 'exfat':
      return await (await import('../fat/fat.ts')).openFat(cached);
    case 'ntfs':
      return await (await import('../ntfs/ntfs.ts')).openNtfs(cached);
    case 'xfs':
      return await (await import('../xfs/xfs.ts')).openXfs(cached);
    case 'btrfs':
      return await (await import('../btrfs/btrfs.ts')).openBtrfs(cached);
    case 'luks':
    case 'bitlocker':
      throw new CofferError('volume-locked', { kind });
    case 'refs':
    case 'iso9660':
      throw new CofferError('file-system-unsupported', { kind });
    case 'swap':
    case 'lvm2':
    case 'unknown':
      throw new CofferError('file-system-unknown', { kind });
  }
}
