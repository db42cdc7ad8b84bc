/**
 * Backup of what changed on a disk since an older point: only changed chunks are read, and only the
 * nodes above them are written. Whoever says what changed is trusted: a change that is not told is
 * not in the point.
 */
import type { RunContext } from '@coffer/base';
import type { ByteRange, Disk } from '@coffer/disk/disk.ts';
import {
  type BaseDisk,
  DiskTreeUpdate,
  GEOMETRY,
  type NodeReader,
  ZERO_ID,
} from '@coffer/repository';
import {
  type DiskBackupOptions,
  type DiskBackupResult,
  segmentSizes,
  StoredSegments,
} from './disk.ts';
import { type DiskSegment, diskSegments } from './disk-segments.ts';

const CHUNK_SIZE_BYTES = GEOMETRY.diskChunkSizeBytes;

export interface ChangedDiskOptions extends DiskBackupOptions {
  readonly reader: NodeReader;
  /** The disk as it was; not larger than it is now. */
  readonly base: BaseDisk;
  /** In order; neighbours may touch. */
  readonly changes: AsyncIterable<ByteRange>;
}

export async function backupChangedDisk(
  run: RunContext,
  options: ChangedDiskOptions,
): Promise<DiskBackupResult> {
  const { disk, session, reader, base } = options;
  const tree = new DiskTreeUpdate(reader, base, disk.sizeBytes, (children, body) =>
    session.writer.writeNode(children, body),
  );
  const stored = new StoredSegments(run, options);
  const ranges = changedChunks(withCutEnd(options), disk.sizeBytes);
  for await (const { segment, ids } of stored.of(changedSegments(disk, ranges))) {
    for (let index = 0; index < segment.chunkCount; index++) {
      await tree.set(segment.firstChunkIndex + index, ids?.[index] ?? ZERO_ID);
    }
  }
  return { root: await tree.finish(), bytesRead: stored.bytesRead };
}

async function* changedSegments(
  disk: Disk,
  ranges: AsyncIterable<ByteRange>,
): AsyncGenerator<DiskSegment> {
  for await (const range of ranges) yield* diskSegments(disk.extents(range), segmentSizes(range));
}

/** The last chunk of a base that ended inside of it is another chunk once the disk has grown. */
async function* withCutEnd({ base, disk, changes }: ChangedDiskOptions): AsyncGenerator<ByteRange> {
  const cut = base.sizeBytes % CHUNK_SIZE_BYTES;
  let end: ByteRange | undefined =
    cut > 0 && disk.sizeBytes > base.sizeBytes
      ? { offset: base.sizeBytes - cut, length: cut }
      : undefined;
  for await (const change of changes) {
    if (end && change.offset > end.offset) {
      yield end;
      end = undefined;
    }
    yield change;
  }
  if (end) yield end;
}

/** Whole chunks that the changes touch, each once; what touches or overlaps is joined. */
export async function* changedChunks(
  changes: Iterable<ByteRange> | AsyncIterable<ByteRange>,
  sizeBytes: number,
): AsyncGenerator<ByteRange> {
  let open: { start: number; end: number } | undefined;
  for await (const { offset, length } of changes) {
    const start = Math.floor(offset / CHUNK_SIZE_BYTES) * CHUNK_SIZE_BYTES;
    const wholeEnd = Math.ceil((offset + length) / CHUNK_SIZE_BYTES) * CHUNK_SIZE_BYTES;
    const end = Math.min(wholeEnd, sizeBytes);
    if (open && start <= open.end) {
      open.end = Math.max(open.end, end);
      continue;
    }
    if (open) yield { offset: open.start, length: open.end - open.start };
    open = { start, end };
  }
  if (open) yield { offset: open.start, length: open.end - open.start };
}
