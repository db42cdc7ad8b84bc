/**
 * What guests have swapped out: swap partitions and logical volumes, swap files of Linux, and the
 * page files of Windows. None of it means anything after the next start, and much of it changes all
 * the time. The header of a swap area stays out of this: the guest needs it to swap again.
 */
import { type FileMetadata, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import { openFileSystem } from '../volumes/open-file-system.ts';
import { listVolumes, type Volume } from '../volumes/volumes.ts';
import { type Place, PlaceFinder, type Read } from './place-finder.ts';
import { SWAP_HEADER_BYTES, swapEndOf } from './swap-header-codec.ts';

/** Swap areas of one volume, or of a file on it. */
export interface SwapArea {
  /** The volume, or the path of the file on it. */
  readonly name: string;
  readonly places: readonly Place[];
}

const FSTAB_BYTES_MAX = 64 * 1024;
/** No host has more; a hostile guest may name thousands. */
const TABLE_FILES_MAX = 32;
/** Where installers put them, where `/etc/fstab` does not tell. */
const LINUX_FILES = ['/swapfile', '/swap.img', '/swap/swapfile'];
/** In the root of a volume of Windows; `hiberfil.sys` is none of them, since it may be needed. */
const WINDOWS_FILES = ['pagefile.sys', 'swapfile.sys'];
const LINUX_KINDS: ReadonlySet<Volume['kind']> = new Set(['ext2', 'ext3', 'ext4', 'xfs', 'btrfs']);

/** What cannot be read has no swap that is found. */
export async function findSwap(disks: readonly Disk[]): Promise<SwapArea[]> {
  const finder = new PlaceFinder(disks);
  const areas: SwapArea[] = [];
  for (const volume of await listVolumes(finder.disks)) {
    areas.push(...(await orNone(() => swapOf(volume, finder))));
  }
  return areas.filter(({ places }) => places.length > 0);
}

async function swapOf(volume: Volume, finder: PlaceFinder): Promise<SwapArea[]> {
  if (volume.problem) return [];
  if (volume.kind === 'swap') {
    const disk = volume.open();
    const read: Read = (offset, target) => disk.read(offset, target);
    return [{ name: volume.name, places: await placesOfSwap(read, disk.sizeBytes, finder) }];
  }
  if (LINUX_KINDS.has(volume.kind)) return await filesOf(volume, finder, linuxSwap);
  return volume.kind === 'ntfs' ? await filesOf(volume, finder, windowsSwap) : [];
}

interface OpenedVolume {
  readonly volume: Volume;
  readonly fileSystem: FileSystem;
  readonly finder: PlaceFinder;
}

async function filesOf(
  volume: Volume,
  finder: PlaceFinder,
  find: (opened: OpenedVolume) => Promise<SwapArea[]>,
): Promise<SwapArea[]> {
  const fileSystem = await openFileSystem(volume.open());
  try {
    return await find({ volume, fileSystem, finder });
  } finally {
    await fileSystem.close();
  }
}

async function linuxSwap({ volume, fileSystem, finder }: OpenedVolume): Promise<SwapArea[]> {
  const areas: SwapArea[] = [];
  for (const path of new Set([...(await swapFilesInTable(fileSystem)), ...LINUX_FILES])) {
    const areasOfFile = await orNone(async () => {
      const file = await fileAt(fileSystem, path);
      if (!file) return [];
      const read: Read = (offset, target) => fileSystem.read(file, offset, target);
      const places = await placesOfSwap(read, file.sizeBytes, finder);
      return [{ name: volume.name + path, places }];
    });
    areas.push(...areasOfFile);
  }
  return areas;
}

async function windowsSwap({ volume, fileSystem, finder }: OpenedVolume): Promise<SwapArea[]> {
  const areas: SwapArea[] = [];
  for (const name of WINDOWS_FILES) {
    const file = await fileAt(fileSystem, `/${name}`);
    if (!file) continue;
    const read: Read = (offset, target) => fileSystem.read(file, offset, target);
    const places = await finder.find(read, 0, file.sizeBytes);
    areas.push({ name: `${volume.name}/${name}`, places });
  }
  return areas;
}

/** Without the header; none where there is none, or where the guest has hibernated into it. */
async function placesOfSwap(read: Read, sizeBytes: number, finder: PlaceFinder): Promise<Place[]> {
  if (sizeBytes < SWAP_HEADER_BYTES) return [];
  const header = Buffer.alloc(SWAP_HEADER_BYTES);
  await read(0, header);
  const end = swapEndOf(header);
  if (end === undefined) return [];
  return await finder.find(read, SWAP_HEADER_BYTES, Math.min(end, sizeBytes));
}

/** The paths of swap files in `/etc/fstab`, if it is on this volume. */
async function swapFilesInTable(fileSystem: FileSystem): Promise<string[]> {
  return await orNone(async () => {
    const file = await fileAt(fileSystem, '/etc/fstab');
    if (!file || file.sizeBytes > FSTAB_BYTES_MAX) return [];
    const bytes = Buffer.alloc(file.sizeBytes);
    await fileSystem.read(file, 0, bytes);
    const lines = bytes.toString('utf8').split('\n');
    const entries = lines.map((line) => line.trim().split(/\s+/));
    const paths = entries.flatMap(([path = '', , type]) =>
      type === 'swap' && path.startsWith('/') ? [path] : [],
    );
    return paths.slice(0, TABLE_FILES_MAX);
  });
}

async function fileAt(fileSystem: FileSystem, path: string): Promise<FileMetadata | undefined> {
  let node: FileMetadata | undefined = fileSystem.root;
  for (const name of path.split('/').filter((part) => part !== '')) {
    if (node?.type !== 'directory') return undefined;
    node = await fileSystem.find(node, Buffer.from(name));
  }
  return node?.type === 'file' ? node : undefined;
}

/** Damage, and what no reader here knows, is no reason not to protect a machine. */
async function orNone<T>(find: () => Promise<T[]>): Promise<T[]> {
  try {
    return await find();
  } catch (error) {
    if (!isCofferError(error)) throw error;
    return [];
  }
}
