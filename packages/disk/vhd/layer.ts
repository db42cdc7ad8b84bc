/** Layers: what one image of a chain holds of the disk, and where in its file. */
import { required } from '@coffer/base';
import type { ByteRange, Disk } from '../disk.ts';
import { BitmapStore } from './bitmap-store.ts';
import { type BlockPart, blockParts } from './block-parts.ts';
import type { BlockTable } from './block-table.ts';
import type { VhdImage } from './image.ts';
import { endOfRun, isPresent } from './sector-bitmap.ts';
import { SECTOR_BYTES } from './sizes.ts';

/** A part of the disk in the file of a layer; where `fileOffset` is undefined, it is below. */
export interface Piece extends ByteRange {
  readonly fileOffset: number | undefined;
}

export interface Layer {
  readonly path: string;
  readonly file: Disk;
  /** Beyond that the layer, and all below it, read as zeroes. */
  readonly sizeBytes: number;
  /** Pieces of a range inside of the layer: in order, without gaps. */
  pieces(range: ByteRange): Promise<Piece[]>;
}

export function layerOf(image: VhdImage): Layer {
  return image.blocks ? new BlockLayer(image) : new FixedLayer(image);
}

class FixedLayer implements Layer {
  readonly path: string;
  readonly file: Disk;
  readonly sizeBytes: number;

  constructor({ path, file, footer }: VhdImage) {
    this.path = path;
    this.file = file;
    this.sizeBytes = footer.currentSizeBytes;
  }

  async pieces(range: ByteRange): Promise<Piece[]> {
    return [{ ...range, fileOffset: range.offset }];
  }
}

export class BlockLayer implements Layer {
  readonly path: string;
  readonly file: Disk;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly isDifferencing: boolean;
  readonly table: BlockTable;
  readonly bitmaps: BitmapStore;

  constructor({ path, file, footer, blocks }: VhdImage) {
    const { header, table } = required(blocks, 'only an image of blocks is such a layer');
    this.path = path;
    this.file = file;
    this.sizeBytes = footer.currentSizeBytes;
    this.blockSizeBytes = header.blockSizeBytes;
    this.isDifferencing = footer.type === 'differencing';
    this.table = table;
    this.bitmaps = new BitmapStore(file, table, header.blockSizeBytes);
  }

  /** Where the data of an allocated block begins in the file. */
  dataOffsetOf(blockIndex: number): number | undefined {
    const offset = this.table.offsetOf(blockIndex);
    return offset === undefined ? undefined : offset + this.bitmaps.bitmapBytes;
  }

  async pieces(range: ByteRange): Promise<Piece[]> {
    const pieces: Piece[] = [];
    for (const part of blockParts(range, this.blockSizeBytes)) {
      const dataOffset = this.dataOffsetOf(part.blockIndex);
      if (dataOffset === undefined) append(pieces, { ...part, fileOffset: undefined });
      // What is not written of a block of a dynamic image is zeroes in the file, too.
      else if (!this.isDifferencing)
        append(pieces, { ...part, fileOffset: dataOffset + part.within });
      else appendRuns(pieces, part, dataOffset, await this.bitmaps.load(part.blockIndex));
    }
    return pieces;
  }
}

function appendRuns(pieces: Piece[], part: BlockPart, dataOffset: number, bitmap: Buffer): void {
  const blockStart = part.offset - part.within;
  const partEnd = part.within + part.length;
  const sectorEnd = Math.ceil(partEnd / SECTOR_BYTES);
  for (let { within } = part; within < partEnd;) {
    const sector = Math.floor(within / SECTOR_BYTES);
    const end = Math.min(partEnd, endOfRun(bitmap, sector, sectorEnd) * SECTOR_BYTES);
    const fileOffset = isPresent(bitmap, sector) ? dataOffset + within : undefined;
    append(pieces, { offset: blockStart + within, length: end - within, fileOffset });
    within = end;
  }
}

/** Joins the piece to the last one where they follow each other. */
function append(pieces: Piece[], { offset, length, fileOffset }: Piece): void {
  const last = pieces.at(-1);
  const nextFileOffset = last?.fileOffset === undefined ? undefined : last.fileOffset + last.length;
  if (last && nextFileOffset === fileOffset) {
    pieces[pieces.length - 1] = { ...last, length: last.length + length };
  } else {
    pieces.push({ offset, length, fileOffset });
  }
}
