/**
 * The bytes of a file or disk of a point, in order. Several windows of chunks are fetched ahead of
 * the reader; memory is bounded by the slabs, whatever the size.
 */
import { type ContentPiece, mapAhead } from '@coffer/base';
import {
  type ChunkReader,
  type ChunkWork,
  diskLeaves,
  GEOMETRY,
  isZeroId,
  type Slab,
  SLAB_SIZE_BYTES,
  SlabPool,
  ZERO_ID,
} from '@coffer/repository';

/** Each window has 16 chunks or more, so that a store that answers late does not set the pace. */
const WINDOWS_AHEAD = 4;
const ZEROES = Buffer.alloc(1024 * 1024);

export interface ContentSource {
  readonly reader: ChunkReader;
  readonly work: ChunkWork;
  readonly pieces: Iterable<ContentPiece> | AsyncIterable<ContentPiece>;
}

/** Chunks that are fetched together, or a run of zeroes of any length. */
interface Window {
  readonly pieces: readonly ContentPiece[];
  readonly length: number;
  readonly isZero: boolean;
}

/** Bytes that are given out are valid until the next ones are asked for. */
export async function* readContent(source: ContentSource): AsyncGenerator<Buffer> {
  // One for each window under way, and one for the window that is given out.
  const slabs = new SlabPool(WINDOWS_AHEAD + 2);
  const fetched = mapAhead(windows(source.pieces), WINDOWS_AHEAD, async (window) => ({
    window,
    slab: window.isZero ? undefined : await fetch(source, window, slabs),
  }));
  for await (const { window, slab } of fetched) {
    if (!slab) {
      yield* zeroes(window.length);
      continue;
    }
    yield slab.bytes.subarray(0, window.length);
    slabs.release(slab);
  }
}

async function fetch(
  { reader, work }: ContentSource,
  { pieces }: Window,
  slabs: SlabPool,
): Promise<Slab> {
  const slab = await slabs.acquire();
  let targetOffset = 0;
  const requests = pieces.map(({ id, length }) => {
    const request = { id, length, targetOffset };
    targetOffset += length;
    return request;
  });
  const [failure] = await reader.readInto(slab, requests, work);
  if (failure) throw failure.error;
  return slab;
}

async function* windows(pieces: ContentSource['pieces']): AsyncGenerator<Window> {
  let open: ContentPiece[] = [];
  let length = 0;
  for await (const piece of pieces) {
    const isZero = isZeroId(piece.id);
    if (open.length > 0 && (isZero || length + piece.length > SLAB_SIZE_BYTES)) {
      yield { pieces: open, length, isZero: false };
      open = [];
      length = 0;
    }
    if (isZero) yield { pieces: [], length: piece.length, isZero };
    else {
      open.push(piece);
      length += piece.length;
    }
  }
  if (open.length > 0) yield { pieces: open, length, isZero: false };
}

function* zeroes(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= ZEROES.length) {
    yield ZEROES.subarray(0, Math.min(ZEROES.length, left));
  }
}

/** The chunks of a disk as pieces of content. */
export async function* diskPieces(
  reader: ChunkReader,
  disk: { readonly root: Buffer; readonly sizeBytes: number },
): AsyncGenerator<ContentPiece> {
  const { diskChunkSizeBytes } = GEOMETRY;
  for await (const { firstChunkIndex, chunkCount, ids } of diskLeaves(reader, disk)) {
    const start = firstChunkIndex * diskChunkSizeBytes;
    const end = Math.min(start + chunkCount * diskChunkSizeBytes, disk.sizeBytes);
    if (!ids) {
      yield { id: ZERO_ID, length: end - start };
      continue;
    }
    for (const [index, id] of ids.entries()) {
      const offset = start + index * diskChunkSizeBytes;
      yield { id, length: Math.min(diskChunkSizeBytes, end - offset) };
    }
  }
}
