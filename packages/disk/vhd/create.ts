/** Makes new images. What was begun is removed when it fails. */
import { rm } from 'node:fs/promises';
import type { Clock, Random } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { createRawDisk } from '../raw.ts';
import { emptyTable, ENTRY_BYTES, type BlockTable } from './block-table.ts';
import { canHoldAll } from './block-allocator.ts';
import { openBlockVhd } from './block-vhd.ts';
import { unsupported } from './damage.ts';
import { FixedVhd } from './fixed.ts';
import { type DiskType, encodeFooter, type Footer, FOOTER_BYTES } from './footer-codec.ts';
import { geometryToWrite } from './geometry.ts';
import { encodeHeader, HEADER_BYTES, type ParentLink } from './header-codec.ts';
import { readImage, type VhdImage } from './image.ts';
import {
  alignUp,
  BLOCK_BYTES_DEFAULT,
  DISK_BYTES_MAX,
  isBlockSize,
  SECTOR_BYTES,
} from './sizes.ts';

const CREATOR = 'cofr';
const HEADER_OFFSET = FOOTER_BYTES;
const TABLE_OFFSET = HEADER_OFFSET + HEADER_BYTES;

export interface Sources {
  readonly random: Random;
  readonly clock: Clock;
}

export interface VhdOptions extends Sources {
  /** A multiple of 512, at most 2040 GiB. */
  readonly sizeBytes: number;
  readonly subformat: 'fixed' | 'dynamic';
  /** Of a dynamic image: a power of two from 512 KiB to 256 MiB; 2 MiB where it is not given. */
  readonly blockSizeBytes?: number;
}

/**
 * Makes an image that reads as zeroes. Fails with `image-unsupported` for a size that the format does
 * not have, with `target-unwritable` when the file exists, and with `target-full`.
 */
export async function createVhd(path: string, options: VhdOptions): Promise<WritableDisk> {
  const { sizeBytes, subformat, blockSizeBytes = BLOCK_BYTES_DEFAULT } = options;
  checkSizes(path, sizeBytes, blockSizeBytes);
  const footer = newFooter(subformat, sizeBytes, options);
  if (subformat === 'fixed') return await createFixed(path, footer);
  return await createBlocks(path, { footer, blockSizeBytes, parents: [] });
}

async function createFixed(path: string, footer: Footer): Promise<WritableDisk> {
  const { currentSizeBytes } = footer;
  const file = await createRawDisk(path, currentSizeBytes + FOOTER_BYTES);
  return await orRemoved(path, file, async () => {
    await file.write(currentSizeBytes, encodeFooter(footer));
    await file.flush();
    return new FixedVhd(await readImage(path, file));
  });
}

export interface NewBlocks {
  readonly footer: Footer;
  readonly blockSizeBytes: number;
  readonly parents: readonly VhdImage[];
  readonly link?: Link;
}

/** Copy of the footer, header, table, paths to the parent, footer. */
export async function createBlocks(path: string, parts: NewBlocks): Promise<WritableDisk> {
  const { footer, blockSizeBytes, parents, link } = parts;
  const table = emptyTable(Math.ceil(footer.currentSizeBytes / blockSizeBytes));
  const pathsOffset = alignUp(TABLE_OFFSET + table.count * ENTRY_BYTES, SECTOR_BYTES);
  const footerOffset = pathsOffset + (link?.paths.length ?? 0);
  const header = encodeHeader(
    { tableOffset: TABLE_OFFSET, tableEntryCount: table.count, blockSizeBytes },
    link?.parent(pathsOffset),
  );
  const file = await createRawDisk(path, footerOffset + FOOTER_BYTES);
  return await orRemoved(path, file, async () => {
    await file.write(HEADER_OFFSET, header);
    await file.write(TABLE_OFFSET, paddedTable(table));
    if (link) await file.write(pathsOffset, link.paths);
    await file.write(0, encodeFooter(footer));
    await file.write(footerOffset, encodeFooter(footer));
    await file.flush();
    return await openBlockVhd(await readImage(path, file), parents);
  });
}

async function orRemoved<T>(path: string, file: WritableDisk, make: () => Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    await file.close();
    await rm(path, { force: true });
    throw error;
  }
}

/** "The BAT is always extended to a sector boundary." */
function paddedTable(table: BlockTable): Buffer {
  const bytes = Buffer.alloc(alignUp(table.count * ENTRY_BYTES, SECTOR_BYTES), 0xff);
  table.encoded(0, table.count).copy(bytes);
  return bytes;
}

export function newFooter(type: DiskType, sizeBytes: number, { random, clock }: Sources): Footer {
  return {
    type,
    headerOffset: HEADER_OFFSET,
    createdAtMs: clock.now(),
    creator: CREATOR,
    currentSizeBytes: sizeBytes,
    geometry: geometryToWrite(sizeBytes),
    uniqueId: newUniqueId(random),
  };
}

/** A random UUID (RFC 9562, version 4). */
function newUniqueId(random: Random): Buffer {
  const id = random.bytes(16);
  id[6] = (id[6]! & 0x0f) | 0x40;
  id[8] = (id[8]! & 0x3f) | 0x80;
  return id;
}

export interface Link {
  /** Two paths to the parent, each in whole sectors. */
  readonly paths: Buffer;
  /** What the header says of the parent, with the paths at that offset. */
  readonly parent: (pathsOffset: number) => ParentLink;
}

function checkSizes(path: string, sizeBytes: number, blockSizeBytes: number): void {
  const place = { path, structure: 'disk', offset: 0 };
  if (sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0) {
    throw unsupported(place, `${sizeBytes} bytes are no whole number of sectors`);
  }
  if (sizeBytes > DISK_BYTES_MAX) throw unsupported(place, `${sizeBytes} bytes, over 2040 GiB`);
  if (!isBlockSize(blockSizeBytes)) throw unsupported(place, `blocks of ${blockSizeBytes} bytes`);
  if (!canHoldAll(sizeBytes, blockSizeBytes)) {
    throw unsupported(place, `blocks of ${blockSizeBytes} bytes are too small for ${sizeBytes}`);
  }
}
