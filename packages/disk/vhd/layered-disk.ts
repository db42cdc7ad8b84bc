/**
 * The disk that a chain of images holds, the child first. What an image does not hold is looked for
 * in its parent, for a whole window at a time; what none holds is zeroes.
 */
import { CofferError } from '@coffer/base';
import { type ByteRange, type Disk, type Extent, wholeOf } from '../disk.ts';
import type { Layer } from './layer.ts';

/** How much is located at once. It bounds the pieces in memory: at worst, each sector is one. */
const WINDOW_BYTES = 16 * 1024 * 1024;

/** A part of the disk, and where in which file it is. */
interface Located extends ByteRange {
  readonly file: Disk;
  readonly fileOffset: number;
}

export class LayeredDisk implements Disk {
  readonly sizeBytes: number;
  readonly #layers: readonly Layer[];

  constructor(layers: readonly Layer[], sizeBytes: number) {
    this.#layers = layers;
    this.sizeBytes = sizeBytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.sizeBytes) {
      const path = this.#layers[0]?.path;
      throw new CofferError('source-changed', { path, endsAt: this.sizeBytes });
    }
    for (const window of windowsOf({ offset, length: target.length })) {
      const start = window.offset - offset;
      await this.#readWindow(window, target.subarray(start, start + window.length));
    }
  }

  async *extents(range: ByteRange = wholeOf(this)): AsyncGenerator<Extent> {
    let open: Extent | undefined;
    for await (const extent of this.#pieces(range)) {
      if (open?.kind === extent.kind) {
        open = { ...open, length: open.length + extent.length };
      } else {
        if (open) yield open;
        open = extent;
      }
    }
    if (open) yield open;
  }

  async close(): Promise<void> {
    await Promise.all(this.#layers.map(({ file }) => file.close()));
  }

  async #readWindow(window: ByteRange, target: Uint8Array): Promise<void> {
    let done = 0;
    for (const { offset, length, file, fileOffset } of await this.#locate(window)) {
      const start = offset - window.offset;
      target.fill(0, done, start);
      done = start + length;
      await file.read(fileOffset, target.subarray(start, done));
    }
    target.fill(0, done);
  }

  /** Extents, where neighbours may be of one kind. */
  async *#pieces(range: ByteRange): AsyncGenerator<Extent> {
    for (const window of windowsOf(range)) {
      let { offset } = window;
      for (const located of await this.#locate(window)) {
        if (located.offset > offset) yield zeroes(offset, located.offset);
        yield* extentsOf(located);
        offset = located.offset + located.length;
      }
      const end = window.offset + window.length;
      if (end > offset) yield zeroes(offset, end);
    }
  }

  /** In order; what lies between them is zeroes. */
  async #locate(range: ByteRange): Promise<Located[]> {
    const located: Located[] = [];
    let missing: ByteRange[] = [range];
    for (const layer of this.#layers) {
      const below: ByteRange[] = [];
      for (const part of missing) {
        const length = Math.min(part.length, layer.sizeBytes - part.offset);
        if (length <= 0) continue;
        for (const piece of await layer.pieces({ offset: part.offset, length })) {
          const { fileOffset } = piece;
          if (fileOffset === undefined) below.push(piece);
          else located.push({ ...piece, fileOffset, file: layer.file });
        }
      }
      missing = below;
      if (missing.length === 0) break;
    }
    return located.sort((a, b) => a.offset - b.offset);
  }
}

function* windowsOf({ offset, length }: ByteRange): Generator<ByteRange> {
  for (let done = 0; done < length; done += WINDOW_BYTES) {
    yield { offset: offset + done, length: Math.min(WINDOW_BYTES, length - done) };
  }
}

/** Data may be a hole in its file. */
async function* extentsOf({ offset, length, file, fileOffset }: Located): AsyncGenerator<Extent> {
  for await (const extent of file.extents({ offset: fileOffset, length })) {
    yield { ...extent, offset: extent.offset - fileOffset + offset };
  }
}

function zeroes(offset: number, end: number): Extent {
  return { offset, length: end - offset, kind: 'zero' };
}
