/**
 * A writable disk over one that never changes: what is written goes to a local file, everything else
 * comes from below. The file can be opened again later and goes on where it was.
 *
 * Invariant: a block is marked as there only when its bytes are. After a crash the file holds at
 * least all that was flushed: blocks are synced before the map that names them.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CofferError, Semaphore } from '@coffer/base';
import { nextData, punchHole, tryToLock } from '@coffer/base/libc.ts';
import { type ByteRange, type Disk, type Extent, wholeOf, type WritableDisk } from '../disk.ts';
import { targetFailure } from '../target-failure.ts';
import { BlockMap, type BlockRun } from './block-map.ts';
import {
  bitmapSizeBytes,
  blocksOffset,
  decodeOverlayHead,
  encodeOverlayHead,
  OVERLAY_BLOCK_SIZE_BYTES as BLOCK,
} from './overlay-codec.ts';

const ZEROES = Buffer.alloc(1024 * 1024);

export interface OverlayOptions {
  readonly below: Disk;
  /** Says what is below, for whoever opens the file again. */
  readonly base: string;
  readonly path: string;
}

/** Opens or makes an overlay. Fails with `target-unwritable` when the file is of something else. */
export async function openOverlay(options: OverlayOptions): Promise<Overlay> {
  const { below, path, base } = options;
  const handle = await openFile(path);
  try {
    if (!tryToLock(handle.fd)) {
      throw new CofferError('target-unwritable', { path, reason: 'another process uses it' });
    }
    const map = (await readMap(handle, options)) ?? (await create(handle, below, base));
    return new Overlay(options, handle, map);
  } catch (error) {
    await handle.close();
    throw error instanceof CofferError ? error : targetFailure(path, error);
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (error) {
    throw targetFailure(path, error);
  }
}

/** Undefined for a new file, or one that was not made to its end: it is of that size, and empty. */
async function readMap(
  handle: FileHandle,
  { below, base, path }: OverlayOptions,
): Promise<BlockMap | undefined> {
  const { size } = await handle.stat();
  const isNew = size === fileSizeBytes(below.sizeBytes) && !nextData(handle.fd, 0, size);
  if (size === 0 || isNew) return undefined;
  const bytes = Buffer.alloc(BLOCK);
  await handle.read(bytes, 0, BLOCK, 0);
  const head = decodeOverlayHead(bytes);
  if (!head) throw new CofferError('target-unwritable', { path, reason: 'it is no overlay' });
  if (head.base !== base || head.sizeBytes !== below.sizeBytes) {
    const reason = `it is an overlay of ${head.base}`;
    throw new CofferError('target-unwritable', { path, reason });
  }
  const bits = Buffer.alloc(bitmapSizeBytes(below.sizeBytes));
  await handle.read(bits, 0, bits.length, BLOCK);
  return new BlockMap(bits);
}

async function create(handle: FileHandle, below: Disk, base: string): Promise<BlockMap> {
  const { sizeBytes } = below;
  await handle.truncate(fileSizeBytes(sizeBytes));
  await handle.write(encodeOverlayHead({ sizeBytes, base }), 0, BLOCK, 0);
  await handle.sync();
  return new BlockMap(Buffer.alloc(bitmapSizeBytes(sizeBytes)));
}

function fileSizeBytes(sizeBytes: number): number {
  return blocksOffset(sizeBytes) + sizeBytes;
}

export class Overlay implements WritableDisk {
  readonly sizeBytes: number;
  readonly #below: Disk;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #map: BlockMap;
  readonly #start: number;
  /** Parts of one block that are written at once must not take each other for what is below. */
  readonly #partial = new Semaphore(1);

  constructor({ below, path }: OverlayOptions, handle: FileHandle, map: BlockMap) {
    this.sizeBytes = below.sizeBytes;
    this.#below = below;
    this.#path = path;
    this.#handle = handle;
    this.#map = map;
    this.#start = blocksOffset(below.sizeBytes);
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const reads: Promise<void>[] = [];
    for (const { range, isPresent } of this.#parts({ offset, length: target.length })) {
      const place = range.offset - offset;
      const part = target.subarray(place, place + range.length);
      reads.push(
        isPresent ? this.#readOwn(range.offset, part) : this.#below.read(range.offset, part),
      );
    }
    await Promise.all(reads);
  }

  async *extents(range: ByteRange = wholeOf(this)): AsyncGenerator<Extent> {
    for (const part of this.#parts(range)) {
      if (part.isPresent) yield { ...part.range, kind: 'data' };
      else yield* this.#below.extents(part.range);
    }
  }

  /** What is in the file and not below, in order. */
  *written(): Generator<ByteRange> {
    for (const { range, isPresent } of this.#parts(wholeOf(this))) if (isPresent) yield range;
  }

  /** Whole blocks that a range touches and that are below still, in order. */
  *missing({ offset, length }: ByteRange): Generator<ByteRange> {
    const start = Math.floor(offset / BLOCK) * BLOCK;
    const end = Math.min(Math.ceil((offset + length) / BLOCK) * BLOCK, this.sizeBytes);
    const whole = { offset: start, length: end - start };
    for (const { range, isPresent } of this.#parts(whole)) if (!isPresent) yield range;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const end = offset + bytes.length;
    const wholeStart = Math.min(Math.ceil(offset / BLOCK) * BLOCK, end);
    const wholeEnd = end === this.sizeBytes ? end : Math.floor(end / BLOCK) * BLOCK;
    if (wholeStart >= wholeEnd) {
      await this.#writePartial(offset, bytes);
      return;
    }
    const [head, tail] = [wholeStart - offset, wholeEnd - offset];
    if (head > 0) await this.#writePartial(offset, bytes.subarray(0, head));
    await this.#writeOwn(wholeStart, bytes.subarray(head, tail));
    this.#markWhole(wholeStart, wholeEnd);
    if (tail < bytes.length) await this.#writePartial(wholeEnd, bytes.subarray(tail));
  }

  async zero(offset: number, length: number): Promise<void> {
    const end = offset + length;
    const wholeStart = Math.ceil(offset / BLOCK) * BLOCK;
    const wholeEnd = end === this.sizeBytes ? end : Math.floor(end / BLOCK) * BLOCK;
    const isWhole = wholeStart < wholeEnd;
    const isPunched =
      isWhole && punchHole(this.#handle.fd, this.#start + wholeStart, wholeEnd - wholeStart);
    if (!isPunched) {
      await this.#writeZeroes(offset, end);
      return;
    }
    this.#markWhole(wholeStart, wholeEnd);
    await this.#writeZeroes(offset, wholeStart);
    await this.#writeZeroes(wholeEnd, end);
  }

  async flush(): Promise<void> {
    // The map as it is now: what is marked while the blocks are synced is for the next flush.
    const changed = this.#map.takeChanged();
    try {
      await this.#handle.sync();
      if (!changed) return;
      await writeAll(this.#handle, changed.bytes, BLOCK + changed.start);
      await this.#handle.sync();
    } catch (error) {
      if (changed) this.#map.giveBack(changed);
      throw targetFailure(this.#path, error);
    }
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.#handle.close();
      await this.#below.close();
    }
  }

  /** Parts of a range by where their bytes are. */
  *#parts(range: ByteRange): Generator<{ range: ByteRange; isPresent: boolean }> {
    const end = range.offset + range.length;
    const runs: Iterable<BlockRun> = this.#map.runs(
      Math.floor(range.offset / BLOCK),
      Math.ceil(end / BLOCK),
    );
    for (const { firstBlock, blockCount, isPresent } of runs) {
      const offset = Math.max(range.offset, firstBlock * BLOCK);
      const partEnd = Math.min(end, (firstBlock + blockCount) * BLOCK);
      yield { range: { offset, length: partEnd - offset }, isPresent };
    }
  }

  /** Writes inside of one or two blocks: what is not written comes from below. */
  async #writePartial(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#partial.run(async () => {
      const start = Math.floor(offset / BLOCK) * BLOCK;
      const end = Math.min(Math.ceil((offset + bytes.length) / BLOCK) * BLOCK, this.sizeBytes);
      const blocks = Buffer.allocUnsafe(end - start);
      await this.read(start, blocks);
      blocks.set(bytes, offset - start);
      await this.#writeOwn(start, blocks);
      this.#markWhole(start, end);
    });
  }

  async #writeZeroes(from: number, to: number): Promise<void> {
    for (let offset = from; offset < to; offset += ZEROES.length) {
      await this.write(offset, ZEROES.subarray(0, Math.min(ZEROES.length, to - offset)));
    }
  }

  #markWhole(start: number, end: number): void {
    this.#map.add(start / BLOCK, Math.ceil((end - start) / BLOCK));
  }

  async #readOwn(offset: number, target: Uint8Array): Promise<void> {
    let done = 0;
    while (done < target.length) {
      const place = this.#start + offset + done;
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, place);
      if (bytesRead === 0) throw new CofferError('source-changed', { path: this.#path });
      done += bytesRead;
    }
  }

  async #writeOwn(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(this.#handle, bytes, this.#start + offset);
    } catch (error) {
      throw targetFailure(this.#path, error);
    }
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}
