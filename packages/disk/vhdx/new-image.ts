/** New images: header section, log, metadata and BAT, and the blocks of a fixed image behind them. */
import type { Random } from '@coffer/base';
import {
  BAT_ENTRY_BYTES,
  type BatLayout,
  batLayout,
  encodeBatEntry,
  PAYLOAD,
  payloadEntryIndex,
} from './bat-codec.ts';
import { randomGuid } from '../guid-codec.ts';
import { encodeHeader, encodeIdentifier, HEADER_OFFSETS, newHeader } from './header-codec.ts';
import type { ImageFile } from './image-file.ts';
import { encodeMetadata, type Metadata } from './metadata-codec.ts';
import { encodeMetadataRegion, type MetadataItem } from './metadata-table-codec.ts';
import { encodeRegionTable, type Regions, REGION_TABLE_OFFSETS } from './region-table-codec.ts';
import { ALIGNMENT_BYTES, HEADER_SECTION_BYTES, MIB, roundUp } from './sizes.ts';

const LOG_LENGTH = MIB;
const ENTRIES_AT_ONCE = MIB / BAT_ENTRY_BYTES;

/**
 * Writes a new image into an empty file, and makes it durable. The identifier is written last, so that
 * a file that was not finished is not taken for an image. `items` come beside those of the metadata.
 */
export async function writeNewImage(
  path: string,
  file: ImageFile,
  metadata: Metadata,
  items: readonly MetadataItem[],
  random: Random,
): Promise<void> {
  const layout = batLayout(metadata.parameters);
  const place = { path, structure: 'metadata', offset: HEADER_SECTION_BYTES + LOG_LENGTH };
  const metadataRegion = encodeMetadataRegion([...encodeMetadata(metadata), ...items], place);
  const regions = placeRegions(metadataRegion.length, layout);
  const blocksOffset = regions.bat.offset + regions.bat.length;
  const { isFixed, blockSizeBytes } = metadata.parameters;
  await file.resize(blocksOffset + (isFixed ? layout.blockCount * blockSizeBytes : 0));
  // The log has its space from the beginning, since it is needed most where there is none left.
  await file.write(HEADER_SECTION_BYTES, Buffer.alloc(LOG_LENGTH));
  await file.write(regions.metadata.offset, metadataRegion);
  if (isFixed) await writeFixedTable(file, regions.bat.offset, layout, blockSizeBytes);
  await writeHeaders(file, random);
  for (const offset of REGION_TABLE_OFFSETS) await file.write(offset, encodeRegionTable(regions));
  await file.flush();
  await file.write(0, encodeIdentifier());
  await file.flush();
}

function placeRegions(
  metadataLength: number,
  layout: BatLayout,
): Pick<Regions, 'bat' | 'metadata'> {
  const metadataOffset = HEADER_SECTION_BYTES + LOG_LENGTH;
  const batLength = roundUp(layout.entryCount * BAT_ENTRY_BYTES, ALIGNMENT_BYTES);
  return {
    metadata: { structure: 'metadata', offset: metadataOffset, length: metadataLength },
    bat: { structure: 'BAT', offset: metadataOffset + metadataLength, length: batLength },
  };
}

async function writeHeaders(file: ImageFile, random: Random): Promise<void> {
  const header = newHeader({
    fileWriteGuid: randomGuid(random),
    dataWriteGuid: randomGuid(random),
    logOffset: HEADER_SECTION_BYTES,
    logLength: LOG_LENGTH,
  });
  await file.write(HEADER_OFFSETS[0], encodeHeader(header));
  const sequenceNumber = header.sequenceNumber + 1n;
  await file.write(HEADER_OFFSETS[1], encodeHeader({ ...header, sequenceNumber }));
}

/** All blocks, one behind the other. */
async function writeFixedTable(
  file: ImageFile,
  batOffset: number,
  layout: BatLayout,
  blockSizeBytes: number,
): Promise<void> {
  const blocksOffset = batOffset + roundUp(layout.entryCount * BAT_ENTRY_BYTES, ALIGNMENT_BYTES);
  let blockIndex = 0;
  for (let first = 0; first < layout.entryCount; first += ENTRIES_AT_ONCE) {
    const count = Math.min(ENTRIES_AT_ONCE, layout.entryCount - first);
    const bytes = Buffer.alloc(count * BAT_ENTRY_BYTES);
    for (; blockIndex < layout.blockCount; blockIndex++) {
      const index = payloadEntryIndex(layout, blockIndex) - first;
      if (index >= count) break;
      const offset = blocksOffset + blockIndex * blockSizeBytes;
      encodeBatEntry({ state: PAYLOAD.fullyPresent, offset }, bytes, index * BAT_ENTRY_BYTES);
    }
    await file.write(batOffset + first * BAT_ENTRY_BYTES, bytes);
  }
}
