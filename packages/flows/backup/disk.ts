/** Backup of a disk: every chunk that may hold data is read and hashed, unknown ones are stored. */
import { mapAhead, type RunContext, tellDone } from '@coffer/base';
import { type ByteRange, type Disk, wholeOf } from '@coffer/disk/disk.ts';
import {
  type ChunkId,
  DiskTreeBuilder,
  GEOMETRY,
  type Session,
  SLAB_SIZE_BYTES,
  SlabPool,
  type Span,
} from '@coffer/repository';
import { type DiskSegment, diskSegments, type SegmentSizes } from './disk-segments.ts';

const CHUNK_SIZE_BYTES = GEOMETRY.diskChunkSizeBytes;

export interface DiskBackupOptions {
  readonly disk: Disk;
  readonly session: Session;
  /** How many slabs are under way at once. */
  readonly slabCount: number;
}

export interface DiskBackupResult {
  readonly root: ChunkId;
  readonly bytesRead: number;
}

export async function backupDisk(
  run: RunContext,
  options: DiskBackupOptions,
): Promise<DiskBackupResult> {
  const { disk, session } = options;
  const builder = new DiskTreeBuilder(disk.sizeBytes, (children, body) =>
    session.writer.writeNode(children, body),
  );
  const segments = diskSegments(disk.extents(), segmentSizes(wholeOf(disk)));
  const stored = new StoredSegments(run, options);
  for await (const { segment, ids } of stored.of(segments)) {
    if (ids) for (const id of ids) await builder.add(id);
    else await builder.addZeroes(segment.chunkCount);
  }
  return { root: await builder.finish(), bytesRead: stored.bytesRead };
}

/** What is read and written at once: a slab. */
export function segmentSizes(range: ByteRange): SegmentSizes {
  return {
    range,
    chunkSizeBytes: CHUNK_SIZE_BYTES,
    chunksMax: SLAB_SIZE_BYTES / CHUNK_SIZE_BYTES,
  };
}

interface StoredSegment {
  readonly segment: DiskSegment;
  /** Undefined for zeroes. */
  readonly ids: readonly ChunkId[] | undefined;
}

/** Reads segments of a disk and stores what is not known, several at once. */
export class StoredSegments {
  bytesRead = 0;
  readonly #run: RunContext;
  readonly #options: DiskBackupOptions;
  readonly #slabs: SlabPool;

  constructor(run: RunContext, options: DiskBackupOptions) {
    this.#run = run;
    this.#options = options;
    this.#slabs = new SlabPool(options.slabCount);
  }

  /** In the order of the segments. */
  async *of(segments: AsyncIterable<DiskSegment>): AsyncGenerator<StoredSegment> {
    const { disk, slabCount } = this.#options;
    const stored = mapAhead(segments, slabCount, async (segment) => {
      const { length, offset } = bytesOf(segment, disk.sizeBytes);
      const ids = segment.kind === 'zero' ? undefined : await this.#store(offset, length);
      return { segment, length, ids };
    });
    for await (const { segment, length, ids } of stored) {
      yield { segment, ids };
      tellDone(this.#run, { bytes: length, items: segment.chunkCount });
    }
  }

  async #store(offset: number, length: number): Promise<readonly ChunkId[]> {
    const { disk, session } = this.#options;
    return await this.#slabs.use(async (slab) => {
      this.#run.signal.throwIfAborted();
      await disk.read(offset, slab.bytes.subarray(0, length));
      this.bytesRead += length;
      return await session.writer.write(slab, chunkSpans(length));
    });
  }
}

function bytesOf(
  { firstChunkIndex, chunkCount }: DiskSegment,
  sizeBytes: number,
): { offset: number; length: number } {
  const offset = firstChunkIndex * CHUNK_SIZE_BYTES;
  return { offset, length: Math.min(chunkCount * CHUNK_SIZE_BYTES, sizeBytes - offset) };
}

function chunkSpans(length: number): Span[] {
  const spans: Span[] = [];
  for (let offset = 0; offset < length; offset += CHUNK_SIZE_BYTES) {
    spans.push({ offset, length: Math.min(CHUNK_SIZE_BYTES, length - offset) });
  }
  return spans;
}
