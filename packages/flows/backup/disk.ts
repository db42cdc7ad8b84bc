/** Backup of a disk: every chunk that may hold data is read and hashed, unknown ones are stored. */
import { mapAhead } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import {
  type ChunkId,
  DiskTreeBuilder,
  GEOMETRY,
  type Session,
  SLAB_SIZE_BYTES,
  SlabPool,
  type Span,
} from '@coffer/repository';
import type { Progress } from '../progress.ts';
import { type DiskSegment, diskSegments } from './disk-segments.ts';

const CHUNK_SIZE_BYTES = GEOMETRY.diskChunkSizeBytes;

export interface DiskBackupOptions {
  readonly disk: Disk;
  readonly session: Session;
  /** How many slabs are under way at once. */
  readonly slabCount: number;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

export interface DiskBackupResult {
  readonly root: ChunkId;
  readonly bytesRead: number;
}

export async function backupDisk(options: DiskBackupOptions): Promise<DiskBackupResult> {
  const { disk, session, slabCount, progress, signal } = options;
  const { writer } = session;
  const slabs = new SlabPool(slabCount);
  const builder = new DiskTreeBuilder(disk.sizeBytes, (children, body) =>
    writer.writeNode(children, body),
  );
  const segments = diskSegments(disk.extents(), {
    sizeBytes: disk.sizeBytes,
    chunkSizeBytes: CHUNK_SIZE_BYTES,
    chunksMax: SLAB_SIZE_BYTES / CHUNK_SIZE_BYTES,
  });
  let bytesRead = 0;
  const stored = mapAhead(segments, slabCount, async (segment) => {
    const { offset, length } = bytesOf(segment, disk.sizeBytes);
    if (segment.kind === 'zero') return { segment, length, ids: undefined };
    const ids = await slabs.use(async (slab) => {
      signal?.throwIfAborted();
      await disk.read(offset, slab.bytes.subarray(0, length));
      bytesRead += length;
      return await writer.write(slab, chunkSpans(length));
    });
    return { segment, length, ids };
  });
  for await (const { segment, length, ids } of stored) {
    if (ids) for (const id of ids) await builder.add(id);
    else await builder.addZeroes(segment.chunkCount);
    progress.bytesDone += length;
    progress.itemsDone += segment.chunkCount;
  }
  return { root: await builder.finish(), bytesRead };
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
