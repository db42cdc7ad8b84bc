/** One image file, opened: its footer, header and table, read and checked against the file's size. */
import type { Disk } from '../disk.ts';
import { BlockTable, checkTable, ENTRY_BYTES } from './block-table.ts';
import { type Place, damaged } from './damage.ts';
import {
  decodeFooter,
  type Footer,
  FOOTER_BYTES,
  footerProblem,
  OLD_FOOTER_BYTES,
} from './footer-codec.ts';
import { decodeHeader, type DynamicHeader, HEADER_BYTES } from './header-codec.ts';
import { bitmapBytesOf } from './sector-bitmap.ts';

export interface VhdImage<D extends Disk = Disk> {
  readonly path: string;
  readonly file: D;
  readonly footer: Footer;
  /** The footer as it is stored, with what `footer` does not tell. */
  readonly footerBytes: Buffer;
  /** Where the footer at the end begins; undefined when it is damaged and its copy was used. */
  readonly footerOffset: number | undefined;
  /** Undefined in a fixed image. */
  readonly blocks: VhdBlocks | undefined;
}

export interface VhdBlocks {
  readonly header: DynamicHeader;
  readonly table: BlockTable;
}

/** Fails with `image-damaged` or `image-unsupported`, and as the file does. */
export async function readImage<D extends Disk>(path: string, file: D): Promise<VhdImage<D>> {
  const found = await findFooter(path, file);
  const place = { path, structure: 'footer', offset: found.offset };
  const footer = decodeFooter(found.bytes, place);
  const footerOffset = found.isCopy ? undefined : found.offset;
  const image = { path, file, footer, footerBytes: found.bytes, footerOffset, blocks: undefined };
  if (footer.type !== 'fixed') return { ...image, blocks: await readBlocks(image, place) };
  // The copy stands only in images of blocks: at the start of a fixed one is the disk.
  if (found.isCopy) throw damaged(endOf(path, file), 'no footer');
  if (footer.currentSizeBytes > found.offset) {
    throw damaged(place, `a disk of ${footer.currentSizeBytes} bytes, but ${found.offset} stored`);
  }
  return image;
}

interface FoundFooter {
  readonly offset: number;
  readonly bytes: Buffer;
  readonly isCopy: boolean;
}

/** "Checksum": where the footer at the end is damaged, the copy at the beginning is used. */
async function findFooter(path: string, file: Disk): Promise<FoundFooter> {
  if (file.sizeBytes < OLD_FOOTER_BYTES) throw damaged(endOf(path, file), 'no space for a footer');
  let problem: string | undefined;
  for (const length of [FOOTER_BYTES, OLD_FOOTER_BYTES]) {
    const offset = file.sizeBytes - length;
    if (offset < 0) continue;
    const bytes = await readFooter(file, offset, length);
    const found = footerProblem(bytes);
    if (found === undefined) return { offset, bytes, isCopy: false };
    if (found !== 'no cookie') problem = found;
  }
  const copy = await readFooter(file, 0, Math.min(FOOTER_BYTES, file.sizeBytes));
  if (footerProblem(copy) === undefined) return { offset: 0, bytes: copy, isCopy: true };
  throw damaged(endOf(path, file), problem ?? 'no cookie');
}

async function readFooter(file: Disk, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(FOOTER_BYTES);
  await file.read(offset, bytes.subarray(0, length));
  return bytes;
}

function endOf(path: string, file: Disk): Place {
  const offset = Math.max(0, file.sizeBytes - FOOTER_BYTES);
  return { path, structure: 'footer', offset };
}

async function readBlocks(image: VhdImage, footerPlace: Place): Promise<VhdBlocks> {
  const { path, file, footer } = image;
  const { headerOffset } = footer;
  if (headerOffset < FOOTER_BYTES || headerOffset > file.sizeBytes - HEADER_BYTES) {
    throw damaged(footerPlace, `a dynamic header at ${headerOffset}, outside of the file`);
  }
  const place = { path, structure: 'dynamic header', offset: headerOffset };
  const bytes = Buffer.alloc(HEADER_BYTES);
  await file.read(headerOffset, bytes);
  const header = decodeHeader(bytes, place);
  return { header, table: await readTable(image, header, place) };
}

/** Reads what the disk needs of the table; some writers make it larger than that. */
async function readTable(
  image: VhdImage,
  header: DynamicHeader,
  place: Place,
): Promise<BlockTable> {
  const { path, file, footer } = image;
  const { tableOffset, tableEntryCount, blockSizeBytes } = header;
  const count = Math.ceil(footer.currentSizeBytes / blockSizeBytes);
  if (tableEntryCount < count) {
    throw damaged(place, `${tableEntryCount} table entries for ${count} blocks`);
  }
  const length = count * ENTRY_BYTES;
  if (tableOffset < FOOTER_BYTES || tableOffset > file.sizeBytes - length) {
    throw damaged(place, `a table at ${tableOffset}, outside of the file`);
  }
  const bytes = Buffer.allocUnsafe(length);
  await file.read(tableOffset, bytes);
  const table = new BlockTable(bytes);
  const bounds = {
    blockBytes: bitmapBytesOf(blockSizeBytes) + blockSizeBytes,
    regions: [
      { structure: 'copy of the footer', offset: 0, length: FOOTER_BYTES },
      { structure: 'dynamic header', offset: place.offset, length: HEADER_BYTES },
      { structure: 'block allocation table', offset: tableOffset, length },
    ],
    endOffset: image.footerOffset ?? file.sizeBytes,
  };
  checkTable(table, bounds, { path, structure: 'block allocation table', offset: tableOffset });
  return table;
}
