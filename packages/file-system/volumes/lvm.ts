/** Logical volumes of LVM2, joined from the physical volumes on one or several disks. */
import { CofferError, isCofferError } from '@coffer/base';
import type { ByteRange, Disk } from '@coffer/disk/disk.ts';
import {
  LVM_LABEL_SECTORS,
  LVM_SECTOR_BYTES,
  type LvmLabel,
  lvmChecksum,
  parseLvmAreaHeader,
  parseLvmLabel,
} from './lvm-label-codec.ts';
import {
  type LvmGroup,
  type LvmLogicalVolume,
  type LvmSegment,
  parseLvmMetadata,
} from './lvm-metadata-codec.ts';
import { joinedDisk, rangeDisk, stripedDisk } from './range-disk.ts';

/** A partition, or a whole disk, that LVM2 has its extents on. */
export interface PhysicalVolume {
  readonly id: string;
  readonly disk: Disk;
  readonly diskIndex: number;
  /** Undefined where the volume holds no metadata: another one of its group does. */
  readonly group: LvmGroup | undefined;
}

/** Undefined when it is no physical volume. Fails with `file-system-damaged`. */
export async function readPhysicalVolume(
  disk: Disk,
  diskIndex: number,
): Promise<PhysicalVolume | undefined> {
  const label = await readLabel(disk);
  if (!label) return undefined;
  const group = newest(await readGroups(disk, label.metadataAreas));
  return { id: label.physicalVolumeId, disk, diskIndex, group };
}

/** The groups that the volumes tell of, each as its newest metadata has it. */
export function groupsOf(volumes: readonly PhysicalVolume[]): LvmGroup[] {
  const groups = volumes.flatMap(({ group }) => (group ? [group] : []));
  const ids = new Set(groups.map(({ id }) => id));
  return [...ids].map((id) => newest(groups.filter((group) => group.id === id))!);
}

/**
 * A logical volume as a disk. Fails with `file-system-unsupported` for thin volumes, snapshots,
 * mirrors and the like, and with `volume-not-found` when a physical volume is on none of the disks.
 */
export function openLogicalVolume(
  { name, specialType, segments }: LvmLogicalVolume,
  volumes: readonly PhysicalVolume[],
): Disk {
  if (specialType !== undefined) {
    throw new CofferError('file-system-unsupported', { volume: name, lvmType: specialType });
  }
  return joinedDisk(segments.map((segment) => openSegment(name, segment, volumes)));
}

function openSegment(
  name: string,
  { length, stripeBytes, areas }: LvmSegment,
  volumes: readonly PhysicalVolume[],
): Disk {
  const parts = areas.map(({ physicalVolumeId, offset }) => {
    const volume = volumes.find(({ id }) => id === physicalVolumeId);
    if (volume) return rangeDisk(volume.disk, { offset, length: length / areas.length });
    throw new CofferError('volume-not-found', { volume: name, physicalVolumeId });
  });
  return parts.length === 1 ? parts[0]! : stripedDisk(parts, stripeBytes);
}

async function readLabel(disk: Disk): Promise<LvmLabel | undefined> {
  for (let sector = 0; sector < LVM_LABEL_SECTORS; sector++) {
    const offset = sector * LVM_SECTOR_BYTES;
    if (offset + LVM_SECTOR_BYTES > disk.sizeBytes) return undefined;
    const label = parseLvmLabel(await readBytes(disk, { offset, length: LVM_SECTOR_BYTES }));
    if (label) return label;
  }
  return undefined;
}

/** Of the areas that can be read; when none can, that is the error. */
async function readGroups(disk: Disk, areas: readonly ByteRange[]): Promise<LvmGroup[]> {
  const groups: LvmGroup[] = [];
  let damage: Error | undefined;
  for (const area of areas) {
    try {
      const group = await readGroup(disk, area);
      if (group) groups.push(group);
    } catch (error) {
      if (!isCofferError(error, 'file-system-damaged')) throw error;
      damage = error;
    }
  }
  if (groups.length === 0 && damage) throw damage;
  return groups;
}

async function readGroup(disk: Disk, area: ByteRange): Promise<LvmGroup | undefined> {
  const header = await readBytes(disk, { offset: area.offset, length: LVM_SECTOR_BYTES });
  const place = parseLvmAreaHeader(header, area);
  if (!place) return undefined;
  const pieces: Buffer[] = [];
  for (const piece of place.pieces) pieces.push(await readBytes(disk, piece));
  if (lvmChecksum(...pieces) !== place.checksum) {
    const details = { structure: 'lvm2 metadata text', offset: area.offset };
    throw new CofferError('file-system-damaged', details);
  }
  return parseLvmMetadata(Buffer.concat(pieces).toString('utf8'));
}

function newest(groups: readonly LvmGroup[]): LvmGroup | undefined {
  return groups.toSorted((a, b) => b.sequence - a.sequence)[0];
}

async function readBytes(disk: Disk, { offset, length }: ByteRange): Promise<Buffer> {
  const end = offset + length;
  if (!Number.isSafeInteger(end) || end > disk.sizeBytes) {
    throw new CofferError('file-system-damaged', { structure: 'lvm2 metadata', offset, length });
  }
  const bytes = Buffer.alloc(length);
  await disk.read(offset, bytes);
  return bytes;
}
