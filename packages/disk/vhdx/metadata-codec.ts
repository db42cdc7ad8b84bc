/** The known metadata items: what the disk is, and how it is stored ([MS-VHDX] 2.6.2). */
import { damaged, type Place, unsupported } from './damage.ts';
import { decodeGuid, encodeGuid, GUID_BYTES } from '../guid-codec.ts';
import { readUint64, writeUint64 } from './integer-codec.ts';
import type { ItemPlace, MetadataItem } from './metadata-table-codec.ts';
import { BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, DISK_BYTES_MAX } from './sizes.ts';

const FILE_PARAMETERS = 'caa16737-fa36-4d43-b3b6-33f0aa44e76b';
const DISK_SIZE = '2fa54224-cd1b-4876-b211-5dbed83bf4b8';
const DISK_ID = 'beca12ab-b2e6-4523-93ef-c309e000c746';
const LOGICAL_SECTOR_SIZE = '8141bf1d-a96f-4709-ba47-f233a8faab5f';
const PHYSICAL_SECTOR_SIZE = 'cda348c7-445d-4471-9cc9-e9885251c556';
const PARENT_LOCATOR = 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c';
const KNOWN = new Map([
  [FILE_PARAMETERS, { name: 'file parameters', bytes: 8 }],
  [DISK_SIZE, { name: 'virtual disk size', bytes: 8 }],
  [DISK_ID, { name: 'virtual disk id', bytes: GUID_BYTES }],
  [LOGICAL_SECTOR_SIZE, { name: 'logical sector size', bytes: 4 }],
  [PHYSICAL_SECTOR_SIZE, { name: 'physical sector size', bytes: 4 }],
  [PARENT_LOCATOR, { name: 'parent locator', bytes: 20 }],
]);

const LEAVE_BLOCKS_ALLOCATED = 1;
const HAS_PARENT = 2;

export interface DiskParameters {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
  /** SCSI page 83 data: tells this disk from all others. */
  readonly diskId: string;
  /** All blocks have a place in the file from the beginning. */
  readonly isFixed: boolean;
  readonly isDifferencing: boolean;
}

export interface Metadata {
  readonly parameters: DiskParameters;
  /** The item as it is stored; undefined unless the image is a differencing one. */
  readonly parentLocator: Buffer | undefined;
}

/** True for the items that `decodeMetadata` and `encodeMetadata` know. */
export function isKnownItem({ id, isUser }: Pick<ItemPlace, 'id' | 'isUser'>): boolean {
  return !isUser && KNOWN.has(id);
}

/** Fails with `image-unsupported` when an item is required and not known. */
export function checkRequiredItems(items: readonly ItemPlace[], place: Place): void {
  const unknown = items.find((item) => item.isRequired && !isKnownItem(item));
  if (unknown) throw unsupported(place, `the required metadata item ${unknown.id}`);
}

/** The meaning of the known items. `placeOf` tells where an item is. */
export function decodeMetadata(
  items: readonly MetadataItem[],
  placeOf: (id: string) => Place,
): Metadata {
  const bytesOf = (id: string): Buffer => knownItem(items, id, placeOf);
  const flags = bytesOf(FILE_PARAMETERS).readUInt32LE(4);
  const parameters: DiskParameters = {
    blockSizeBytes: bytesOf(FILE_PARAMETERS).readUInt32LE(0),
    sizeBytes: readUint64(bytesOf(DISK_SIZE), 0),
    logicalSectorBytes: bytesOf(LOGICAL_SECTOR_SIZE).readUInt32LE(0),
    physicalSectorBytes: bytesOf(PHYSICAL_SECTOR_SIZE).readUInt32LE(0),
    diskId: decodeGuid(bytesOf(DISK_ID), 0),
    isDifferencing: (flags & HAS_PARENT) !== 0,
    // 2.6.2.1: it is ignored where there is a parent.
    isFixed: (flags & LEAVE_BLOCKS_ALLOCATED) !== 0 && (flags & HAS_PARENT) === 0,
  };
  const problem = problemOf(parameters);
  if (problem) throw damaged(placeOf(problem.id), problem.reason);
  const parentLocator = parameters.isDifferencing ? bytesOf(PARENT_LOCATOR) : undefined;
  return { parameters, parentLocator };
}

/** Fails with `image-unsupported` when the format has no such disk. */
export function checkParameters(parameters: DiskParameters, path: string): void {
  const problem = problemOf(parameters);
  if (!problem) return;
  throw unsupported({ path, structure: nameOf(problem.id), offset: 0 }, problem.reason);
}

/** The known items of a new image. */
export function encodeMetadata({ parameters, parentLocator }: Metadata): MetadataItem[] {
  const fileParameters = Buffer.alloc(8);
  fileParameters.writeUInt32LE(parameters.blockSizeBytes, 0);
  const flags =
    (parameters.isFixed ? LEAVE_BLOCKS_ALLOCATED : 0) |
    (parameters.isDifferencing ? HAS_PARENT : 0);
  fileParameters.writeUInt32LE(flags, 4);
  const size = Buffer.alloc(8);
  writeUint64(size, parameters.sizeBytes, 0);
  return [
    item(FILE_PARAMETERS, fileParameters, false),
    item(DISK_SIZE, size, true),
    item(DISK_ID, encodeGuid(parameters.diskId), true),
    item(LOGICAL_SECTOR_SIZE, uint32(parameters.logicalSectorBytes), true),
    item(PHYSICAL_SECTOR_SIZE, uint32(parameters.physicalSectorBytes), true),
    ...(parentLocator ? [item(PARENT_LOCATOR, parentLocator, false)] : []),
  ];
}

export function nameOf(id: string): string {
  return KNOWN.get(id)?.name ?? `metadata item ${id}`;
}

function knownItem(
  items: readonly MetadataItem[],
  id: string,
  placeOf: (id: string) => Place,
): Buffer {
  const found = items.find((item) => item.id === id && isKnownItem(item));
  if (!found) throw damaged(placeOf(id), 'the item is missing');
  const needed = KNOWN.get(id)?.bytes ?? 0;
  if (found.bytes.length < needed) throw damaged(placeOf(id), `only ${found.bytes.length} bytes`);
  return found.bytes;
}

interface Problem {
  readonly id: string;
  readonly reason: string;
}

function problemOf(parameters: DiskParameters): Problem | undefined {
  const { sizeBytes, blockSizeBytes, logicalSectorBytes, physicalSectorBytes } = parameters;
  if (!isBlockSize(blockSizeBytes)) {
    return { id: FILE_PARAMETERS, reason: `blocks of ${blockSizeBytes} bytes` };
  }
  if (!isSectorSize(logicalSectorBytes)) {
    return { id: LOGICAL_SECTOR_SIZE, reason: `sectors of ${logicalSectorBytes} bytes` };
  }
  if (!isSectorSize(physicalSectorBytes)) {
    return { id: PHYSICAL_SECTOR_SIZE, reason: `sectors of ${physicalSectorBytes} bytes` };
  }
  if (!(sizeBytes > 0 && sizeBytes <= DISK_BYTES_MAX && sizeBytes % logicalSectorBytes === 0)) {
    return { id: DISK_SIZE, reason: `a disk of ${sizeBytes} bytes` };
  }
  return undefined;
}

function isBlockSize(bytes: number): boolean {
  return bytes >= BLOCK_BYTES_MIN && bytes <= BLOCK_BYTES_MAX && Number.isInteger(Math.log2(bytes));
}

function isSectorSize(bytes: number): boolean {
  return bytes === 512 || bytes === 4096;
}

function item(id: string, bytes: Buffer, isVirtualDisk: boolean): MetadataItem {
  return { id, bytes, isVirtualDisk, isUser: false, isRequired: true };
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
