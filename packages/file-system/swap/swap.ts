/**
 * What guests have swapped out: swap partitions and logical volumes, swap files of Linux, and the
 * page files of Windows. None of it means anything after the next start, and much of it changes all
 * the time. The header of a swap area stays out of this: the guest needs it to swap again.
 *
 * Whatever is in doubt is no swap: what is left out is lost. A guest that has hibernated swaps in
 * when it goes on, so all of it is kept.
 */
import { type FileMetadata, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import { openFileSystem } from '../volumes/open-file-system.ts';
import { isRaidMember } from '../volumes/raid-member.ts';
import { listVolumes, type Volume } from '../volumes/volumes.ts';
import { type Place, PlaceFinder, type Read } from './place-finder.ts';
import { isHibernated, SWAP_HEADER_BYTES, swapEndOf } from './swap-header-codec.ts';

/** Swap areas of one volume, or of a file on it. */
export interface SwapArea {
  /** The volume, or the path of the file on it. */
  readonly name: string;
  readonly places: readonly Place[];
}

export interface FindSwapOptions {
  /** The guest had written to its file systems what was in their journals. */
  readonly isAtRest: boolean;
  readonly signal?: AbortSignal | undefined;
}

const FSTAB_BYTES_MAX = 64 * 1024;
/** No host has more; a hostile guest may name thousands. */
const TABLE_FILES_MAX = 32;
/** Where installers put them, where `/etc/fstab` does not tell. */
const LINUX_FILES = ['/swapfile', '/swap.img', '/swap/swapfile'];
/** In the root of a volume of Windows. */
const WINDOWS_FILES = ['pagefile.sys', 'swapfile.sys'];
const WINDOWS_HIBERNATION_FILE = '/hiberfil.sys';
/** What that file begins with when Windows has gone on since, or never hibernated. */
const WINDOWS_AWAKE = /^(wake|\0{4})/i;
/**
 * Not XFS and btrfs: there several files may share what looks like that of one, and the journal of
 * XFS, which may give places to other files, is not read here.
 */
const LINUX_KINDS: ReadonlySet<Volume['kind']> = new Set(['ext2', 'ext3', 'ext4']);
/** Of a GPT and of a master boot record. */
const SWAP_PARTITION_TYPES: ReadonlySet<string | undefined> = new Set([
  '0657fd6d-a4ab-43c4-84e5-0933c84b4f4f',
  '82',
]);

/** What cannot be read has no swap that is found. Fails only with the reason of `signal`. */
export async function findSwap(
  disks: readonly Disk[],
  { isAtRest, signal }: FindSwapOptions,
): Promise<SwapArea[]> {
  const finder = new PlaceFinder(disks, signal);
  const areas: SwapArea[] = [];
  try {
    for (const volume of await listVolumes(finder.disks)) {
      signal?.throwIfAborted();
      areas.push(...(await orNone(() => swapOf(volume, { finder, isAtRest }))));
    }
  } catch (error) {
    if (!(error instanceof InDoubt)) throw error;
    areas.length = 0;
  }
  signal?.throwIfAborted();
  return areas.filter(({ places }) => places.length > 0);
}

/** The guest may go on with what it has swapped out. */
class InDoubt extends Error {}

interface Search {
  readonly finder: PlaceFinder;
  readonly isAtRest: boolean;
}

async function swapOf(volume: Volume, { finder, isAtRest }: Search): Promise<SwapArea[]> {
  if (volume.kind === 'bitlocker') throw new InDoubt();
  if (volume.kind === 'ntfs') return await ofWindows(volume, { finder, isAtRest });
  if (volume.problem || (await isRaidMember(volume.open()))) return [];
  if (volume.kind === 'swap' || volume.kind === 'unknown') return await ofVolume(volume, finder);
  if (LINUX_KINDS.has(volume.kind)) return await filesOf(volume, finder, linuxSwap);
  return [];
}

/** What cannot be read of Windows may tell that it has hibernated. */
async function ofWindows(volume: Volume, { finder, isAtRest }: Search): Promise<SwapArea[]> {
  try {
    if (await isRaidMember(volume.open())) return [];
    const areas = await filesOf(volume, finder, windowsSwap);
    return isAtRest ? areas : [];
  } catch (error) {
    if (isCofferError(error)) throw new InDoubt();
    throw error;
  }
}

/** Others may have been swap before they became what they are. */
function isForSwap({ offset, partitionType }: Volume): boolean {
  const isLogical = offset === undefined;
  return isLogical || SWAP_PARTITION_TYPES.has(partitionType);
}

async function ofVolume(volume: Volume, finder: PlaceFinder): Promise<SwapArea[]> {
  const disk = volume.open();
  const read: Read = (offset, target) => disk.read(offset, target);
  const places = await placesOfSwap(read, disk.sizeBytes, finder);
  return isForSwap(volume) ? [{ name: volume.name, places }] : [];
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
      const file = await swapFileAt(fileSystem, path);
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
  const hibernation = await fileAt(fileSystem, WINDOWS_HIBERNATION_FILE);
  if (hibernation && hibernation.sizeBytes > 0) {
    const mark = Buffer.alloc(4);
    await fileSystem.read(hibernation, 0, mark);
    if (!WINDOWS_AWAKE.test(mark.toString('latin1'))) throw new InDoubt();
  }
  const areas: SwapArea[] = [];
  for (const name of WINDOWS_FILES) {
    const file = await swapFileAt(fileSystem, `/${name}`);
    if (!file) continue;
    const read: Read = (offset, target) => fileSystem.read(file, offset, target);
    const places = await finder.find(read, 0, file.sizeBytes);
    areas.push({ name: `${volume.name}/${name}`, places });
  }
  return areas;
}

/** Without the header; none where that does not tell of all of an area. */
async function placesOfSwap(read: Read, sizeBytes: number, finder: PlaceFinder): Promise<Place[]> {
  if (sizeBytes < SWAP_HEADER_BYTES) return [];
  const header = Buffer.alloc(SWAP_HEADER_BYTES);
  await read(0, header);
  if (isHibernated(header)) throw new InDoubt();
  const end = swapEndOf(header);
  // Linux would not swap to a part of an area: this is one of something larger, or was.
  if (end === undefined || end > sizeBytes) return [];
  return await finder.find(read, SWAP_HEADER_BYTES, end);
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

/** No system has a second name for its swap; to take that one could hide any file. */
async function swapFileAt(fileSystem: FileSystem, path: string): Promise<FileMetadata | undefined> {
  const file = await fileAt(fileSystem, path);
  return file?.hardLink ? undefined : file;
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
