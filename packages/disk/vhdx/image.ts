/** Opening one image of a chain: header, log, regions, metadata and BAT, each checked. */
import { isCofferError } from '@coffer/base';
import type { Disk } from '../disk.ts';
import { openRawDisk } from '../raw.ts';
import { type BatLayout, BAT_ENTRY_BYTES, batLayout } from './bat-codec.ts';
import { damaged, type Place, within } from './damage.ts';
import { ZERO_GUID } from '../guid-codec.ts';
import {
  checkIdentifier,
  type CurrentHeader,
  currentHeader,
  decodeHeader,
  type Header,
  HEADER_BYTES,
  HEADER_OFFSETS,
  IDENTIFIER_BYTES,
} from './header-codec.ts';
import { activeSequence } from './log-sequence.ts';
import {
  checkRequiredItems,
  decodeMetadata,
  isKnownItem,
  type Metadata,
  nameOf,
} from './metadata-codec.ts';
import {
  decodeMetadataTable,
  type ItemPlace,
  METADATA_TABLE_BYTES,
  type MetadataItem,
} from './metadata-table-codec.ts';
import {
  decodeRegionTable,
  isRegionTable,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  type Regions,
} from './region-table-codec.ts';
import { type Replay, ReplayedFile, replayOf } from './replay.ts';
import { HEADER_SECTION_BYTES, MIB } from './sizes.ts';
import { SpaceMap } from './space-map.ts';
import { checkTable } from './table-check.ts';

/** Known items are small; of those that a child has from its parent, no more is held in memory. */
const ITEMS_BYTES_MAX = 16 * MIB;

export interface VhdxImage<D extends Disk = Disk> {
  readonly path: string;
  readonly file: D;
  readonly header: Header;
  readonly regions: Regions;
  readonly metadata: Metadata;
  /** What the metadata region holds. */
  readonly items: readonly ItemPlace[];
  readonly layout: BatLayout;
  /** The end of the last structure in the file, in bytes. */
  readonly endOffset: number;
}

/** Opens an image for reading. Fails as `openRawDisk` and `imageIn` do. */
export async function openImage(path: string): Promise<VhdxImage> {
  const file = await openRawDisk(path);
  try {
    return await imageIn(path, file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * The image in a file; what its log holds is replayed in memory. Fails with `image-damaged` or
 * `image-unsupported`.
 */
export async function imageIn(path: string, file: Disk): Promise<VhdxImage> {
  const { header } = await readHeader(path, file);
  const replay = await readLog(path, file, header);
  return await readImage(path, replay ? new ReplayedFile(file, replay) : file, header);
}

/** Fails with `image-damaged` or `image-unsupported`. */
export async function readHeader(path: string, file: Disk): Promise<CurrentHeader> {
  const identifier = { path, structure: 'file type identifier', offset: 0 };
  checkIdentifier(await readStructure(file, identifier, IDENTIFIER_BYTES), identifier);
  const place = { path, structure: 'header', offset: HEADER_OFFSETS[0] };
  const second = { ...place, offset: HEADER_OFFSETS[1] };
  return currentHeader(
    decodeHeader(await readStructure(file, place, HEADER_BYTES)),
    decodeHeader(await readStructure(file, second, HEADER_BYTES)),
    place,
  );
}

/** What has to be replayed; undefined when there is nothing. Fails with `image-damaged`. */
export async function readLog(
  path: string,
  file: Disk,
  { logGuid, logOffset, logLength }: Header,
): Promise<Replay | undefined> {
  if (logGuid === ZERO_GUID) return undefined;
  const place = { path, structure: 'log', offset: logOffset };
  const log = await readStructure(file, place, logLength);
  return replayOf(activeSequence(log, logGuid, place), file.sizeBytes, place);
}

/** Reads an image whose log is replayed. Fails with `image-damaged` or `image-unsupported`. */
export async function readImage<D extends Disk>(
  path: string,
  file: D,
  header: Header,
): Promise<VhdxImage<D>> {
  const space = new SpaceMap(file.sizeBytes, { path, structure: 'file', offset: 0 });
  space.claimRegion({ path, structure: 'header section', offset: 0 }, HEADER_SECTION_BYTES);
  space.claimRegion({ path, structure: 'log', offset: header.logOffset }, header.logLength);
  const regions = await readRegions(path, file);
  for (const { structure, offset, length } of regions.all) {
    space.claimRegion({ path, structure, offset }, length);
  }
  const { items, metadata } = await readMetadata(path, file, regions);
  const layout = batLayout(metadata.parameters);
  const bat = { path, structure: 'BAT', offset: regions.bat.offset };
  if (layout.entryCount * BAT_ENTRY_BYTES > regions.bat.length) {
    throw damaged(bat, `${layout.entryCount} entries do not fit into ${regions.bat.length} bytes`);
  }
  await checkTable(file, metadata.parameters, layout, space, bat);
  return { path, file, header, regions, metadata, items, layout, endOffset: space.endOffset };
}

/** The items, as they are stored. Fails with `image-damaged` when they are too large together. */
export async function readItems(
  { path, file, regions }: Pick<VhdxImage, 'path' | 'file' | 'regions'>,
  items: readonly ItemPlace[],
): Promise<MetadataItem[]> {
  const place = { path, structure: 'metadata', offset: regions.metadata.offset };
  const total = items.reduce((sum, { length }) => sum + length, 0);
  if (total > ITEMS_BYTES_MAX) throw damaged(place, `items of ${total} bytes`);
  const read: MetadataItem[] = [];
  for (const item of items) {
    const bytes = await readStructure(file, within(place, item.offset), item.length);
    read.push({ ...item, bytes });
  }
  return read;
}

/** The first copy, or the second where the first one is damaged. */
async function readRegions(path: string, file: Disk): Promise<Regions> {
  for (const offset of REGION_TABLE_OFFSETS) {
    const place = { path, structure: 'region table', offset };
    const bytes = await readStructure(file, place, REGION_TABLE_BYTES);
    if (isRegionTable(bytes)) return decodeRegionTable(bytes, place);
  }
  const place = { path, structure: 'region table', offset: REGION_TABLE_OFFSETS[0] };
  throw damaged(place, 'neither copy has a valid signature and checksum');
}

async function readMetadata(
  path: string,
  file: Disk,
  regions: Regions,
): Promise<Pick<VhdxImage, 'items' | 'metadata'>> {
  const { offset, length } = regions.metadata;
  const place = { path, structure: 'metadata table', offset };
  const table = await readStructure(file, place, METADATA_TABLE_BYTES);
  const items = decodeMetadataTable(table, length, place);
  checkRequiredItems(items, place);
  const known = await readItems({ path, file, regions }, items.filter(isKnownItem));
  const metadata = decodeMetadata(known, (id) => placeOfItem(items, id, place));
  return { items, metadata };
}

/** The place of the item, or of the table that does not name it. */
function placeOfItem(items: readonly ItemPlace[], id: string, table: Place): Place {
  const found = items.find((item) => item.id === id && !item.isUser);
  return { ...within(table, found?.offset ?? 0), structure: nameOf(id) };
}

/** Fails with `image-damaged` where the file ends in the structure. */
async function readStructure(file: Disk, place: Place, length: number): Promise<Buffer> {
  if (place.offset + length > file.sizeBytes) {
    throw damaged(place, `it is cut, the file ends at ${file.sizeBytes}`);
  }
  const bytes = Buffer.alloc(length);
  try {
    await file.read(place.offset, bytes);
  } catch (error) {
    if (isCofferError(error, 'source-changed')) throw damaged(place, 'the file was cut');
    throw error;
  }
  return bytes;
}
