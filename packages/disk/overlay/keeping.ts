/**
 * A disk that keeps what is overwritten, so that it can be brought back.
 *
 * Invariant: what a write destroys is in the file of the kept blocks, synced, before it is destroyed.
 */
import { Semaphore } from '@coffer/base';
import { type ByteRange, type Disk, type WritableDisk } from '../disk.ts';
import { type Overlay, openOverlay } from './overlay.ts';

const PIECE_SIZE_BYTES = 4 * 1024 * 1024;

export interface KeptOptions {
  /** The disk that is written to. */
  readonly target: WritableDisk;
  /** File of what it held before. */
  readonly path: string;
  /** Says whose it is, for whoever brings it back. */
  readonly base: string;
}

/** Writes go to the target; closing it closes the target. Only the first content of a block is kept. */
export async function openKeeping(options: KeptOptions): Promise<WritableDisk> {
  return new KeepingDisk(options.target, await openKept(options));
}

/** Brings all back that was kept. Can be repeated; closes the target. */
export async function bringBack(options: KeptOptions): Promise<void> {
  const { target } = options;
  const kept = await openKept(options);
  try {
    const bytes = Buffer.allocUnsafe(PIECE_SIZE_BYTES);
    for (const range of kept.written()) {
      for (const piece of piecesOf(range)) {
        const part = bytes.subarray(0, piece.length);
        await kept.read(piece.offset, part);
        await target.write(piece.offset, part);
      }
    }
    await target.flush();
  } finally {
    await kept.close();
  }
}

/** Closes the target when it fails, as the overlay does otherwise. */
async function openKept({ target, path, base }: KeptOptions): Promise<Overlay> {
  try {
    return await openOverlay({ below: target, base, path });
  } catch (error) {
    await target.close();
    throw error;
  }
}

class KeepingDisk implements WritableDisk {
  readonly sizeBytes: number;
  readonly #target: WritableDisk;
  readonly #kept: Overlay;
  /** Of two writes to one block, the second must not take the first for what was there before. */
  readonly #keeps = new Semaphore(1);

  constructor(target: WritableDisk, kept: Overlay) {
    this.sizeBytes = target.sizeBytes;
    this.#target = target;
    this.#kept = kept;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#target.read(offset, target);
  }

  extents(range?: ByteRange): ReturnType<Disk['extents']> {
    return this.#target.extents(range);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#keeps.run(() => this.#keep({ offset, length: bytes.length }));
    await this.#target.write(offset, bytes);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.#keeps.run(() => this.#keep({ offset, length }));
    await this.#target.zero(offset, length);
  }

  async flush(): Promise<void> {
    await this.#target.flush();
  }

  async close(): Promise<void> {
    await this.#kept.close();
  }

  async #keep(range: ByteRange): Promise<void> {
    for (const missing of this.#kept.missing(range)) {
      const bytes = Buffer.allocUnsafe(Math.min(missing.length, PIECE_SIZE_BYTES));
      for (const piece of piecesOf(missing)) {
        const part = bytes.subarray(0, piece.length);
        await this.#target.read(piece.offset, part);
        await this.#kept.write(piece.offset, part);
      }
    }
    await this.#kept.flush();
  }
}

function* piecesOf({ offset, length }: ByteRange): Generator<ByteRange> {
  for (let done = 0; done < length; done += PIECE_SIZE_BYTES) {
    yield { offset: offset + done, length: Math.min(PIECE_SIZE_BYTES, length - done) };
  }
}
