/**
 * The disk that a chain of images holds, the child first. What an image leaves to its parent is
 * looked for there, level by level, without recursion; what no image holds is zeroes.
 */
import { CofferError, TaskQueue } from '@coffer/base';
import { type ByteRange, type Disk, type Extent, wholeOf } from '../disk.ts';
import type { Layer, Piece } from './layer.ts';

const READS_AT_ONCE = 8;

/** A part of the disk: in the file of a layer, or zeroes. */
export interface Located extends ByteRange {
  readonly source: { readonly file: Disk; readonly fileOffset: number } | undefined;
}

export class ChainedDisk implements Disk {
  readonly sizeBytes: number;
  readonly #layers: readonly Layer[];

  constructor(layers: readonly [Layer, ...Layer[]]) {
    this.#layers = layers;
    this.sizeBytes = layers[0].parameters.sizeBytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.sizeBytes) {
      const path = this.#layers[0]?.path;
      throw new CofferError('source-changed', { path, endsAt: this.sizeBytes });
    }
    const queue = new TaskQueue(READS_AT_ONCE);
    try {
      for await (const part of locate(this.#layers, { offset, length: target.length })) {
        const start = part.offset - offset;
        const { source } = part;
        const into = target.subarray(start, start + part.length);
        if (source) await queue.add(async () => await source.file.read(source.fileOffset, into));
        else into.fill(0);
      }
    } finally {
      // The caller may use the target again when this returns, in whatever way.
      await queue.drain();
    }
  }

  async *extents(range: ByteRange = wholeOf(this)): AsyncGenerator<Extent> {
    let open: Extent | undefined;
    for await (const part of locate(this.#layers, range)) {
      for await (const extent of extentsOf(part)) {
        if (open?.kind === extent.kind) {
          open = { ...open, length: open.length + extent.length };
        } else {
          if (open) yield open;
          open = extent;
        }
      }
    }
    if (open) yield open;
  }

  async close(): Promise<void> {
    for (const { file } of this.#layers) await file.close();
  }
}

/** In order, without gaps. */
export async function* locate(layers: readonly Layer[], range: ByteRange): AsyncGenerator<Located> {
  const levels: AsyncGenerator<Piece>[] = layers.slice(0, 1).map((layer) => layer.pieces(range));
  for (let level = levels.at(-1); level; level = levels.at(-1)) {
    const next = await level.next();
    if (next.done === true) {
      levels.pop();
      continue;
    }
    const piece = next.value;
    const file = layers[levels.length - 1]?.file;
    const parent = layers[levels.length];
    if (piece.kind === 'file' && file) yield located(piece, file, piece.fileOffset);
    else if (piece.kind === 'parent' && parent) levels.push(parent.pieces(piece));
    else yield located(piece);
  }
}

function located({ offset, length }: ByteRange, file?: Disk, fileOffset = 0): Located {
  return { offset, length, source: file && { file, fileOffset } };
}

/** Data may be a hole in its file. */
async function* extentsOf({ offset, length, source }: Located): AsyncGenerator<Extent> {
  if (!source) {
    yield { offset, length, kind: 'zero' };
    return;
  }
  const { file, fileOffset } = source;
  for await (const extent of file.extents({ offset: fileOffset, length })) {
    yield { ...extent, offset: extent.offset - fileOffset + offset };
  }
}
