/**
 * The volumes of one disk, or of all disks of a machine: what can hold a file system. A disk without
 * a partition table is one volume; logical volumes may lie on several disks.
 */
import { CofferError, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { cachedDisk } from './cached-disk.ts';
import { type Detected, detectFileSystem, type FileSystemKind } from './detect.ts';
import { openLuks } from '../luks/luks.ts';
import { groupsOf, openLogicalVolume, type PhysicalVolume, readPhysicalVolume } from './lvm.ts';
import type { LvmLogicalVolume } from './lvm-metadata-codec.ts';
import type { Partition } from './partition.ts';
import { readPartitionTable } from './partition-table.ts';
import { rangeDisk } from './range-disk.ts';

export interface Volume {
  /**
   * `disk`, `p1`, or `group-volume`; a plain path component. Partitions of several disks have the
   * same names, so a volume is named by disk and name.
   */
  readonly name: string;
  /** The disk, of those given, that it is on or begins on. */
  readonly diskIndex: number;
  /** `lvm2-thin` and the like are logical volumes that cannot be opened. */
  readonly kind: FileSystemKind | `lvm2-${string}`;
  /** On the disk; undefined for a logical volume, which may lie on several. */
  readonly offset: number | undefined;
  readonly sizeBytes: number;
  /** Of the file system. */
  readonly label: string | undefined;
  readonly uuid: string | undefined;
  /** The name in the partition table. */
  readonly partitionName: string | undefined;
  /** What the partition table says that it is for: a GUID, or two digits (`82`). */
  readonly partitionType: string | undefined;
  /** Why it cannot be opened, or what is wrong with the disk that it is. */
  readonly problem: CofferError | undefined;
  /** Closing the disk does not close the disks given. Fails with `problem`. */
  open(): Disk;
}

export interface ListVolumesOptions {
  /** Opens LUKS volumes, which are listed as what is in them then. */
  readonly passphrase?: Buffer | undefined;
}

/** All volumes of the disks. Damage of one is told as its `problem`, and the others are listed. */
export async function listVolumes(
  disks: Disk | readonly Disk[],
  { passphrase }: ListVolumesOptions = {},
): Promise<Volume[]> {
  const all = 'sizeBytes' in disks ? [disks] : disks;
  const volumes: Volume[] = [];
  const physical: PhysicalVolume[] = [];
  for (const [diskIndex, disk] of all.entries()) {
    for (const volume of await volumesOfDisk(disk, diskIndex)) {
      volumes.push(await withPhysicalVolume(await unlocked(volume, passphrase), physical));
    }
  }
  for (const { name, volumes: logical } of groupsOf(physical)) {
    for (const one of logical) {
      volumes.push(await unlocked(await logicalVolume(name, one, physical), passphrase));
    }
  }
  return uniquelyNamed(volumes);
}

/** What is in an encrypted volume, if the passphrase opens it. */
async function unlocked(volume: Volume, passphrase: Buffer | undefined): Promise<Volume> {
  if (volume.kind !== 'luks' || passphrase === undefined) return volume;
  try {
    const disk = await openLuks(volume.open(), passphrase);
    return { ...volume, ...(await described(disk)) };
  } catch (error) {
    if (!isCofferError(error)) throw error;
    return { ...volume, problem: error };
  }
}

async function volumesOfDisk(disk: Disk, diskIndex: number): Promise<Volume[]> {
  const table = await readPartitionTable(cachedDisk(disk));
  const found: Volume[] = [];
  for (const partition of table?.partitions ?? []) {
    found.push(await partitionVolume(disk, diskIndex, partition));
  }
  // With a damaged table there may be more on the disk than the partitions.
  const isOneVolume = table === undefined || table.problem !== undefined;
  return isOneVolume ? [...found, await wholeDisk(disk, diskIndex, table?.problem)] : found;
}

async function partitionVolume(
  disk: Disk,
  diskIndex: number,
  { number, offset, length, label, type }: Partition,
): Promise<Volume> {
  const part = rangeDisk(disk, { offset, length });
  const name = `p${number}`;
  const partition = { partitionName: label, partitionType: type };
  return { ...(await described(part)), name, diskIndex, offset, ...partition };
}

async function wholeDisk(
  disk: Disk,
  diskIndex: number,
  problem: CofferError | undefined,
): Promise<Volume> {
  const part = rangeDisk(disk, { offset: 0, length: disk.sizeBytes });
  const volume = await described(part);
  return {
    ...volume,
    name: 'disk',
    diskIndex,
    offset: 0,
    ...NO_PARTITION,
    problem: problem ?? volume.problem,
  };
}

const NO_PARTITION = { partitionName: undefined, partitionType: undefined };

type Described = Omit<Volume, 'name' | 'diskIndex' | 'offset' | keyof typeof NO_PARTITION>;

async function described(disk: Disk): Promise<Described> {
  const { detected, problem } = await detectOrProblem(disk);
  const { kind, label, uuid } = detected;
  return { kind, label, uuid, sizeBytes: disk.sizeBytes, problem, open: () => disk };
}

/** A volume that goes beyond the end of its disk is listed nevertheless. */
async function detectOrProblem(
  disk: Disk,
): Promise<{ detected: Detected; problem: CofferError | undefined }> {
  try {
    return { detected: await detectFileSystem(disk), problem: undefined };
  } catch (error) {
    if (!isCofferError(error, 'file-system-damaged')) throw error;
    const { sizeBytes } = disk;
    const detected = { kind: 'unknown', label: undefined, uuid: undefined, sizeBytes } as const;
    return { detected, problem: error };
  }
}

/** Adds what the volume is to LVM2, if it is something. */
async function withPhysicalVolume(volume: Volume, physical: PhysicalVolume[]): Promise<Volume> {
  if (volume.kind !== 'lvm2') return volume;
  try {
    const found = await readPhysicalVolume(volume.open(), volume.diskIndex);
    if (found) physical.push(found);
    return volume;
  } catch (error) {
    if (!isCofferError(error, 'file-system-damaged')) throw error;
    return { ...volume, problem: error };
  }
}

async function logicalVolume(
  groupName: string,
  volume: LvmLogicalVolume,
  physical: readonly PhysicalVolume[],
): Promise<Volume> {
  const { name, id, sizeBytes, specialType, segments } = volume;
  const first = physical.find((one) => one.id === segments[0]?.areas[0]?.physicalVolumeId);
  const common = {
    name: `${groupName}-${name}`,
    diskIndex: first?.diskIndex ?? groupDiskIndex(groupName, physical),
    offset: undefined,
    ...NO_PARTITION,
    sizeBytes,
  };
  try {
    const disk = openLogicalVolume(volume, physical);
    return { ...(await described(disk)), ...common };
  } catch (error) {
    if (!isCofferError(error)) throw error;
    const kind = specialType === undefined ? 'unknown' : (`lvm2-${specialType}` as const);
    const open = (): Disk => {
      throw error;
    };
    return { ...common, kind, label: undefined, uuid: id, problem: error, open };
  }
}

function groupDiskIndex(groupName: string, physical: readonly PhysicalVolume[]): number {
  return physical.find(({ group }) => group?.name === groupName)?.diskIndex ?? 0;
}

/** Copies of a machine's disks have groups and volumes of one name. */
function uniquelyNamed(volumes: readonly Volume[]): Volume[] {
  const counts = new Map<string, number>();
  return volumes.map((volume) => {
    const key = `${volume.diskIndex}/${volume.name}`;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return count === 1 ? volume : { ...volume, name: `${volume.name}-${count}` };
  });
}
