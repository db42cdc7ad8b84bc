/** Disks as a folder of raw files, so that any program can read them through a mount. */
import { CofferError, type FileMetadata, isFileName } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';

export interface NamedDisk {
  readonly name: string;
  readonly disk: Disk;
}

export interface DiskFile extends FileMetadata {
  /** Not of the folder itself. */
  readonly disk: Disk | undefined;
}

/**
 * A folder with a file `<name>.raw` for each disk, which only the user of this process can read.
 * Closing it closes the disks. Fails with `usage` when a name
 * cannot be that of a file, or two are equal.
 */
export function diskFolder(disks: readonly NamedDisk[]): FileSystem<DiskFile> {
  const files = new Map<string, DiskFile>();
  for (const { name, disk } of disks) {
    const fileName = `${name}.raw`;
    if (!isFileName(Buffer.from(fileName)) || files.has(fileName)) {
      throw new CofferError('usage', { diskName: name, reason: 'no name for a file of its own' });
    }
    files.set(fileName, diskFile(fileName, BigInt(files.size + 2), disk));
  }
  return {
    root: diskFile('', 1n, undefined),
    async *entries() {
      yield* files.values();
    },
    find: async (_folder, name) => files.get(name.toString('utf8')),
    read: readDisk,
    async close() {
      for (const { disk } of disks) await disk.close();
    },
  };
}

async function readDisk({ disk }: DiskFile, offset: number, target: Uint8Array): Promise<number> {
  if (!disk) return 0;
  const length = Math.max(0, Math.min(target.length, disk.sizeBytes - offset));
  if (length > 0) await disk.read(offset, target.subarray(0, length));
  return length;
}

function diskFile(name: string, inode: bigint, disk: Disk | undefined): DiskFile {
  return {
    name: Buffer.from(name),
    type: disk ? 'file' : 'directory',
    mode: disk ? 0o400 : 0o500,
    userId: process.geteuid?.() ?? 0,
    groupId: process.getegid?.() ?? 0,
    modifiedNs: 0n,
    changedNs: 0n,
    inode,
    sizeBytes: disk?.sizeBytes ?? 0,
    hardLink: undefined,
    linkTarget: undefined,
    deviceNumber: undefined,
    extendedAttributes: [],
    disk,
  };
}
