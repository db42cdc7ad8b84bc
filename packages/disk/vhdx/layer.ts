/** Layers: what one image of a chain holds of the disk, and where in its file. */
import { required } from '@coffer/base';
import type { ByteRange, Disk } from '../disk.ts';
import { PAYLOAD } from './bat-codec.ts';
import { BlockMap } from './block-map.ts';
import { type BlockPart, blockParts } from './block-parts.ts';
import type { VhdxImage } from './image.ts';
import type { DiskParameters } from './metadata-codec.ts';
import { endOfRun, isPresent } from './sector-bits.ts';

/** A part of the disk: in the file of the layer, zeroes, or what the parent has there. */
export type Piece =
  | {
      readonly kind: 'file';
      readonly offset: number;
      readonly length: number;
      readonly fileOffset: number;
    }
  | { readonly kind: 'zero' | 'parent'; readonly offset: number; readonly length: number };

export class Layer {
  readonly path: string;
  readonly file: Disk;
  readonly parameters: DiskParameters;
  readonly blocks: BlockMap;

  constructor(image: VhdxImage) {
    this.path = image.path;
    this.file = image.file;
    this.parameters = image.metadata.parameters;
    this.blocks = new BlockMap(image);
  }

  /** Pieces of a range: in order, without gaps, neighbours joined; zeroes beyond the disk's end. */
  async *pieces({ offset, length }: ByteRange): AsyncGenerator<Piece> {
    const joiner = new PieceJoiner();
    const held = Math.max(0, Math.min(length, this.parameters.sizeBytes - offset));
    for (const part of blockParts({ offset, length: held }, this.parameters.blockSizeBytes)) {
      const { blockIndex } = part;
      // A disk may have millions of blocks: to wait for each, or to yield it, takes too long.
      const entry = this.blocks.cachedEntry(blockIndex) ?? (await this.blocks.entry(blockIndex));
      if (entry.state === PAYLOAD.partiallyPresent) {
        for await (const run of this.#sectorRuns(part, entry.offset)) {
          if (joiner.add(run)) yield joiner.complete;
        }
      } else if (joiner.add(this.#wholePiece(part, entry.state, entry.offset))) {
        yield joiner.complete;
      }
    }
    if (held < length) {
      const beyond: Piece = { kind: 'zero', offset: offset + held, length: length - held };
      if (joiner.add(beyond)) yield joiner.complete;
    }
    if (length > 0) yield joiner.last;
  }

  /**
   * What is undefined or unmapped reads as zeroes, which 2.5.1.1 allows and which tells nothing that
   * was there before.
   */
  #wholePiece({ offset, length, within }: BlockPart, state: number, blockOffset: number): Piece {
    if (state === PAYLOAD.fullyPresent) {
      return { kind: 'file', offset, length, fileOffset: blockOffset + within };
    }
    const isParents = state === PAYLOAD.notPresent && this.parameters.isDifferencing;
    return { kind: isParents ? 'parent' : 'zero', offset, length };
  }

  async *#sectorRuns(part: BlockPart, blockOffset: number): AsyncGenerator<Piece> {
    const sectorBytes = this.parameters.logicalSectorBytes;
    const blockStart = part.offset - part.within;
    const first = Math.floor(part.within / sectorBytes);
    const end = Math.ceil((part.within + part.length) / sectorBytes);
    for await (const { bits, firstSector, endSector } of this.blocks.bitmap(
      part.blockIndex,
      first,
      end,
    )) {
      const last = Math.min(end, endSector) - firstSector;
      for (let sector = Math.max(first, firstSector) - firstSector; sector < last;) {
        const runEnd = endOfRun(bits, sector, last);
        const start = Math.max(part.within, (firstSector + sector) * sectorBytes);
        const stop = Math.min(part.within + part.length, (firstSector + runEnd) * sectorBytes);
        const run = { offset: blockStart + start, length: stop - start };
        yield isPresent(bits, sector)
          ? { kind: 'file', ...run, fileOffset: blockOffset + start }
          : { kind: 'parent', ...run };
        sector = runEnd;
      }
    }
  }
}

/** Holds back the last piece, until one comes that does not continue it. */
class PieceJoiner {
  #complete: Piece | undefined;
  #last: Piece | undefined;

  get complete(): Piece {
    return required(this.#complete, 'a piece was completed');
  }

  get last(): Piece {
    return required(this.#last, 'a range has a piece');
  }

  /** True when the piece before is complete. */
  add(piece: Piece): boolean {
    const joined = this.#last && join(this.#last, piece);
    const isComplete = this.#last !== undefined && joined === undefined;
    if (isComplete) this.#complete = this.#last;
    this.#last = joined ?? piece;
    return isComplete;
  }
}

/** The piece of both, where the second one continues the first; undefined where it does not. */
function join(first: Piece, second: Piece): Piece | undefined {
  if (first.kind === 'file') {
    if (second.kind !== 'file') return undefined;
    if (first.fileOffset + first.length !== second.fileOffset) return undefined;
  } else if (first.kind !== second.kind) {
    return undefined;
  }
  return { ...first, length: first.length + second.length };
}
