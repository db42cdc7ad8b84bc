/**
 * A disk of a recovery point, read at any place. A chunk that is read alone is fetched alone and
 * kept; where reads go on in order, windows of 16 chunks are fetched ahead of them.
 *
 * Invariant: a window's slab is not given back while somebody copies from it.
 */
import { CofferError } from '@coffer/base';
import { type ByteRange, type Disk, type Extent, wholeOf } from '@coffer/disk/disk.ts';
import {
  type ChunkId,
  type ChunkReader,
  type ChunkWork,
  DiskTreeReader,
  GEOMETRY,
  isZeroId,
} from '@coffer/repository';
import { ReadAhead } from './read-ahead.ts';
import { RecentChunks } from './recent-chunks.ts';

const CHUNK_SIZE_BYTES = GEOMETRY.diskChunkSizeBytes;

export interface PointDiskSource {
  readonly reader: ChunkReader;
  readonly work: ChunkWork;
  readonly root: ChunkId;
  readonly sizeBytes: number;
}

/** A part of one chunk that is read. */
interface Part {
  readonly chunkIndex: number;
  /** Offset in the chunk, in bytes. */
  readonly offset: number;
  readonly target: Uint8Array;
}

export class PointDisk implements Disk {
  readonly sizeBytes: number;
  readonly #tree: DiskTreeReader;
  readonly #ahead: ReadAhead;
  readonly #recent: RecentChunks;

  constructor(source: PointDiskSource) {
    this.sizeBytes = source.sizeBytes;
    this.#tree = new DiskTreeReader(source.reader, source);
    this.#ahead = new ReadAhead(source, this.#tree);
    this.#recent = new RecentChunks(source.reader);
  }

  /** Fails with `chunk-missing` or `chunk-damaged` when a chunk that is read is lost. */
  async read(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.sizeBytes) {
      throw new CofferError('source-changed', { endsAt: this.sizeBytes });
    }
    await Promise.all(partsOf(offset, target).map((part) => this.#part(part)));
  }

  async *extents(range: ByteRange = wholeOf(this)): AsyncGenerator<Extent> {
    const end = range.offset + range.length;
    const first = Math.floor(range.offset / CHUNK_SIZE_BYTES);
    let open: { offset: number; length: number; kind: Extent['kind'] } | undefined;
    for await (const run of this.#runs(first, Math.ceil(end / CHUNK_SIZE_BYTES))) {
      const offset = Math.max(range.offset, run.chunkIndex * CHUNK_SIZE_BYTES);
      const runEnd = Math.min(end, (run.chunkIndex + run.chunkCount) * CHUNK_SIZE_BYTES);
      if (open?.kind === run.kind) open.length = runEnd - open.offset;
      else {
        if (open) yield open;
        open = { offset, length: runEnd - offset, kind: run.kind };
      }
    }
    if (open && open.length > 0) yield open;
  }

  async close(): Promise<void> {
    await this.#ahead.close();
  }

  async *#runs(
    first: number,
    end: number,
  ): AsyncGenerator<{ chunkIndex: number; chunkCount: number; kind: Extent['kind'] }> {
    for await (const { firstChunkIndex, chunkCount, ids } of this.#tree.leaves(first, end)) {
      if (!ids) yield { chunkIndex: firstChunkIndex, chunkCount, kind: 'zero' };
      else {
        for (const [index, id] of ids.entries()) {
          const kind = isZeroId(id) ? 'zero' : 'data';
          yield { chunkIndex: firstChunkIndex + index, chunkCount: 1, kind };
        }
      }
    }
  }

  async #part({ chunkIndex, offset, target }: Part): Promise<void> {
    const isAhead = await this.#ahead.copy(chunkIndex, offset, target);
    if (isAhead) return;
    const id = await this.#tree.idAt(chunkIndex);
    if (isZeroId(id)) {
      target.fill(0);
      return;
    }
    const length = Math.min(CHUNK_SIZE_BYTES, this.sizeBytes - chunkIndex * CHUNK_SIZE_BYTES);
    const plain = await this.#recent.chunk(id, length);
    target.set(plain.subarray(offset, offset + target.length));
  }
}

function partsOf(offset: number, target: Uint8Array): Part[] {
  const parts: Part[] = [];
  for (let done = 0; done < target.length;) {
    const place = offset + done;
    const inChunk = place % CHUNK_SIZE_BYTES;
    const length = Math.min(CHUNK_SIZE_BYTES - inChunk, target.length - done);
    const chunkIndex = Math.floor(place / CHUNK_SIZE_BYTES);
    parts.push({ chunkIndex, offset: inChunk, target: target.subarray(done, done + length) });
    done += length;
  }
  return parts;
}
