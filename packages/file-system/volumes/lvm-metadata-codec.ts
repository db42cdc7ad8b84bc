/** Volume groups, and the logical volumes in them, as the text of LVM2 tells them. */
import { CofferError } from '@coffer/base';
import {
  lvmList,
  lvmNumber,
  type LvmSection,
  lvmSection,
  lvmText,
  parseLvmText,
} from './lvm-text-codec.ts';

export interface LvmGroup {
  readonly name: string;
  readonly id: string;
  /** Grows with each change: of several copies the one with the highest is true. */
  readonly sequence: number;
  readonly volumes: readonly LvmLogicalVolume[];
}

export interface LvmLogicalVolume {
  readonly name: string;
  readonly id: string;
  readonly sizeBytes: number;
  /** The types of segments that are not read as they lie: `thin`, `raid1`, `snapshot` ... */
  readonly specialType: string | undefined;
  /** In order and without gaps; empty where `specialType` is set. */
  readonly segments: readonly LvmSegment[];
}

/** A run of a logical volume: on one area, or in stripes on several of them by turns; bytes. */
export interface LvmSegment {
  readonly length: number;
  readonly stripeBytes: number;
  readonly areas: readonly LvmArea[];
}

/** Where a run, or its part of the stripes, begins on a physical volume. */
export interface LvmArea {
  readonly physicalVolumeId: string;
  readonly offset: number;
}

const SECTOR_BYTES = 512;
const SEGMENT_COUNT_MAX = 100_000;
/** LVM2 itself takes no more. */
const STRIPE_COUNT_MAX = 128;
const NAME = /^(?!\.\.?$)[A-Za-z0-9_.+-]{1,127}$/;

interface PhysicalVolume {
  readonly id: string;
  readonly startBytes: number;
}

/** The group that the text tells of. Fails with `file-system-damaged`. */
export function parseLvmMetadata(text: string): LvmGroup {
  const found = [...parseLvmText(text).sections].find(([, { values }]) => values.has('seqno'));
  if (!found) throw damaged('there is no volume group');
  const [name, group] = found;
  const extentBytes = lvmNumber(group, 'extent_size') * SECTOR_BYTES;
  const physical = parsePhysicalVolumes(group);
  const volumes: LvmLogicalVolume[] = [];
  for (const [volumeName, section] of lvmSection(group, 'logical_volumes').sections) {
    // Parts of other volumes, such as the metadata of a thin pool, are not visible.
    if (!lvmList(section, 'status').includes('VISIBLE')) continue;
    volumes.push(parseVolume({ name: volumeName, section, extentBytes, physical }));
  }
  return {
    name: requireName(name),
    id: lvmText(group, 'id'),
    sequence: lvmNumber(group, 'seqno'),
    volumes,
  };
}

function parsePhysicalVolumes(group: LvmSection): Map<string, PhysicalVolume> {
  const found = new Map<string, PhysicalVolume>();
  for (const [name, section] of lvmSection(group, 'physical_volumes').sections) {
    found.set(name, {
      id: lvmText(section, 'id').replaceAll('-', ''),
      startBytes: lvmNumber(section, 'pe_start') * SECTOR_BYTES,
    });
  }
  return found;
}

interface VolumeContext {
  readonly name: string;
  readonly section: LvmSection;
  readonly extentBytes: number;
  readonly physical: ReadonlyMap<string, PhysicalVolume>;
}

function parseVolume(context: VolumeContext): LvmLogicalVolume {
  const { name, section, extentBytes } = context;
  const segments = segmentsOf(section);
  const extents = segments.reduce((sum, segment) => sum + lvmNumber(segment, 'extent_count'), 0);
  const sizeBytes = extents * extentBytes;
  if (!Number.isSafeInteger(sizeBytes)) throw damaged(`the size of ${name}`);
  const special = segments.map(specialType).find(Boolean);
  return {
    name: requireName(snapshotName(segments) ?? name),
    id: lvmText(section, 'id'),
    sizeBytes,
    specialType: special,
    segments: special === undefined ? placed(context, segments) : [],
  };
}

function segmentsOf(section: LvmSection): LvmSection[] {
  const count = lvmNumber(section, 'segment_count');
  if (count > Math.min(SEGMENT_COUNT_MAX, section.sections.size)) throw damaged('segment_count');
  return Array.from({ length: count }, (_, index) =>
    lvmSection(section, `segment${index + 1}`),
  ).sort((a, b) => lvmNumber(a, 'start_extent') - lvmNumber(b, 'start_extent'));
}

/** Old snapshots have a name of LVM2's own; people know them by that of the volume of changes. */
function snapshotName(segments: readonly LvmSection[]): string | undefined {
  const store = segments[0]?.values.get('cow_store');
  return typeof store === 'string' ? store : undefined;
}

/** Undefined for a run of extents that lie on physical volumes as they are. */
function specialType(segment: LvmSection): string | undefined {
  const type = lvmText(segment, 'type').split('+', 1)[0]!;
  if (type === 'striped' || type === 'linear') return undefined;
  return type === '' ? 'unknown' : type;
}

function placed(context: VolumeContext, segments: readonly LvmSection[]): LvmSegment[] {
  let nextExtent = 0;
  return segments.map((segment) => {
    if (lvmNumber(segment, 'start_extent') !== nextExtent) throw damaged('segments have a gap');
    nextExtent += lvmNumber(segment, 'extent_count');
    return placedSegment(context, segment);
  });
}

function placedSegment({ extentBytes, physical }: VolumeContext, segment: LvmSection): LvmSegment {
  const length = lvmNumber(segment, 'extent_count') * extentBytes;
  const stripes = lvmList(segment, 'stripes');
  const count = lvmNumber(segment, 'stripe_count');
  if (count < 1 || count > STRIPE_COUNT_MAX || stripes.length !== count * 2)
    throw damaged('stripes');
  const stripeBytes = count === 1 ? length : lvmNumber(segment, 'stripe_size') * SECTOR_BYTES;
  if (stripeBytes === 0 || length % (stripeBytes * count) !== 0) throw damaged('stripes');
  const areas = Array.from({ length: count }, (_, index): LvmArea => {
    const [name, startExtent] = stripes.slice(index * 2, index * 2 + 2);
    const volume = typeof name === 'string' ? physical.get(name) : undefined;
    if (!volume || typeof startExtent !== 'number' || startExtent < 0) throw damaged('stripes');
    const offset = volume.startBytes + startExtent * extentBytes;
    if (!Number.isSafeInteger(offset)) throw damaged('stripes');
    return { physicalVolumeId: volume.id, offset };
  });
  return { length, stripeBytes, areas };
}

function requireName(name: string): string {
  if (!NAME.test(name)) throw damaged(`the name '${name.slice(0, 40)}'`);
  return name;
}

function damaged(reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'lvm2 metadata', reason });
}
