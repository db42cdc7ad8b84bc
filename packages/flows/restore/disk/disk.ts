/**
 * Restore of a disk: many windows of chunks are fetched, opened and written at once, in no order.
 * Zeroes are not written to a disk that is known to be zero.
 */
import { type RunContext, TaskQueue, tellDone, tellTotal } from '@coffer/base';
import type { ByteRange, WritableDisk } from '@coffer/disk/disk.ts';
import {
  CHUNK_ID_SIZE_BYTES,
  type ChunkFailure,
  type ChunkId,
  type ChunkReader,
  type ChunkRequest,
  type ChunkWork,
  diskLeaves,
  GEOMETRY,
  isZeroId,
  type Slab,
  SLAB_SIZE_BYTES,
  SlabPool,
  ZERO_ID,
} from '@coffer/repository';

const CHUNK_SIZE_BYTES = GEOMETRY.diskChunkSizeBytes;
const CHUNKS_PER_WINDOW = SLAB_SIZE_BYTES / CHUNK_SIZE_BYTES;
/** Each window has up to 16 chunks, so a store that answers late does not set the pace. */
const WINDOWS_AT_ONCE = 8;

/** How the target is used. */
export type DiskRestoreMode =
  /** It reads as zeroes: only data is written. */
  | 'onto-zeroes'
  /** It holds anything: all is written. */
  | 'onto-anything'
  /** It is read first, and what is equal already is kept. */
  | 'delta'
  /** It is read and compared; nothing is written. */
  | 'compare';

export interface DiskRestoreOptions {
  readonly reader: ChunkReader;
  readonly work: ChunkWork;
  readonly source: { readonly root: ChunkId; readonly sizeBytes: number };
  readonly target: WritableDisk;
  readonly mode: DiskRestoreMode;
}

export interface DiskRestoreResult {
  bytesWritten: number;
  bytesKept: number;
  /** Offsets of chunks that differ, when comparing. */
  readonly differences: number[];
  readonly failures: ChunkFailure[];
}

interface Window {
  readonly offset: number;
  readonly length: number;
  /** Undefined for a window of zeroes, which may be of any length. */
  readonly ids: readonly ChunkId[] | undefined;
}

export async function restoreDisk(
  run: RunContext,
  options: DiskRestoreOptions,
): Promise<DiskRestoreResult> {
  const { reader, source } = options;
  const result: DiskRestoreResult = {
    bytesWritten: 0,
    bytesKept: 0,
    differences: [],
    failures: [],
  };
  const restore = new DiskRestore(options, result);
  // Whoever is told of a failure closes the target, or undoes: nothing may write to it then.
  await using tasks = new TaskQueue(WINDOWS_AT_ONCE);
  tellTotal(run, { bytes: source.sizeBytes });
  for await (const window of windows(reader, source)) {
    await tasks.add(async () => {
      run.signal.throwIfAborted();
      await restore.window(window);
      tellDone(run, { bytes: window.length });
    });
  }
  await tasks.drain();
  return result;
}

class DiskRestore {
  readonly #options: DiskRestoreOptions;
  readonly #result: DiskRestoreResult;
  readonly #slabs = new SlabPool(WINDOWS_AT_ONCE);
  readonly #currents = new SlabPool(WINDOWS_AT_ONCE);

  constructor(options: DiskRestoreOptions, result: DiskRestoreResult) {
    this.#options = options;
    this.#result = result;
  }

  async window(window: Window): Promise<void> {
    const { mode } = this.#options;
    if (!window.ids) await this.#zeroes(window);
    else if (mode === 'delta' || mode === 'compare') await this.#differing(window, window.ids);
    else await this.#fetchAndWrite(window, requestsOf(window.ids, window.length));
  }

  async #zeroes({ offset, length }: Window): Promise<void> {
    const { mode, target } = this.#options;
    if (mode === 'onto-zeroes') return;
    if (mode === 'onto-anything') {
      await target.zero(offset, length);
      this.#result.bytesWritten += length;
      return;
    }
    // Where the target has holes it is not even read.
    for await (const extent of target.extents({ offset, length })) {
      if (extent.kind === 'zero') this.#result.bytesKept += extent.length;
      else await this.#differingFromZero(extent);
    }
  }

  async #differingFromZero({ offset, length }: ByteRange): Promise<void> {
    for (let done = 0; done < length; done += SLAB_SIZE_BYTES) {
      const piece = Math.min(SLAB_SIZE_BYTES, length - done);
      const chunkCount = Math.ceil(piece / CHUNK_SIZE_BYTES);
      const ids = Array.from({ length: chunkCount }, () => ZERO_ID);
      await this.#differing({ offset: offset + done, length: piece, ids }, ids);
    }
  }

  async #differing(window: Window, ids: readonly ChunkId[]): Promise<void> {
    const { target, work, mode } = this.#options;
    const wanted = requestsOf(ids, window.length);
    const different = await this.#currents.use(async (current) => {
      await target.read(window.offset, current.bytes.subarray(0, window.length));
      const spans = wanted.map(({ targetOffset, length }) => ({ offset: targetOffset, length }));
      const found = await work.identify({ slab: current, spans });
      return wanted.filter(({ id }, index) => !id.equals(idAt(found, index)));
    });
    this.#result.bytesKept += window.length - lengthOf(different);
    if (mode === 'compare') {
      for (const each of different)
        this.#result.differences.push(window.offset + each.targetOffset);
    } else if (different.length > 0) {
      await this.#fetchAndWrite(window, different);
    }
  }

  async #fetchAndWrite(window: Window, requests: readonly ChunkRequest[]): Promise<void> {
    const { reader, work } = this.#options;
    await this.#slabs.use(async (slab) => {
      const data = requests.filter(({ id }) => !isZeroId(id));
      const failures = await reader.readInto(slab, data, work);
      this.#result.failures.push(...failures);
      const failed = new Set(failures.map(({ request }) => request));
      await this.#write(
        window,
        slab,
        requests.filter((request) => !failed.has(request)),
      );
    });
  }

  /** Neighbours are written as one. */
  async #write(window: Window, slab: Slab, requests: readonly ChunkRequest[]): Promise<void> {
    const { target, mode } = this.#options;
    for (const run of runsOf(requests)) {
      const offset = window.offset + run.targetOffset;
      if (!run.isZero) {
        await target.write(
          offset,
          slab.bytes.subarray(run.targetOffset, run.targetOffset + run.length),
        );
      } else if (mode !== 'onto-zeroes') {
        await target.zero(offset, run.length);
      } else {
        continue;
      }
      this.#result.bytesWritten += run.length;
    }
  }
}

async function* windows(
  reader: ChunkReader,
  source: DiskRestoreOptions['source'],
): AsyncGenerator<Window> {
  for await (const leaf of diskLeaves(reader, source)) {
    const start = leaf.firstChunkIndex * CHUNK_SIZE_BYTES;
    const end = Math.min(start + leaf.chunkCount * CHUNK_SIZE_BYTES, source.sizeBytes);
    if (!leaf.ids) {
      yield { offset: start, length: end - start, ids: undefined };
      continue;
    }
    for (let index = 0; index < leaf.ids.length; index += CHUNKS_PER_WINDOW) {
      const offset = start + index * CHUNK_SIZE_BYTES;
      const ids = leaf.ids.slice(index, index + CHUNKS_PER_WINDOW);
      const length = Math.min(CHUNKS_PER_WINDOW * CHUNK_SIZE_BYTES, end - offset);
      yield { offset, length, ids: ids.every(isZeroId) ? undefined : ids };
    }
  }
}

function requestsOf(ids: readonly ChunkId[], length: number): ChunkRequest[] {
  return ids.map((id, index) => {
    const targetOffset = index * CHUNK_SIZE_BYTES;
    return { id, targetOffset, length: Math.min(CHUNK_SIZE_BYTES, length - targetOffset) };
  });
}

/** Ids are given one after the other. */
function idAt(ids: Buffer, index: number): Buffer {
  return ids.subarray(index * CHUNK_ID_SIZE_BYTES, (index + 1) * CHUNK_ID_SIZE_BYTES);
}

interface Run {
  readonly targetOffset: number;
  length: number;
  readonly isZero: boolean;
}

function runsOf(requests: readonly ChunkRequest[]): Run[] {
  const runs: Run[] = [];
  for (const { id, targetOffset, length } of requests) {
    const isZero = isZeroId(id);
    const last = runs.at(-1);
    if (last?.isZero === isZero && last.targetOffset + last.length === targetOffset) {
      last.length += length;
    } else {
      runs.push({ targetOffset, length, isZero });
    }
  }
  return runs;
}

function lengthOf(requests: readonly ChunkRequest[]): number {
  return requests.reduce((sum, { length }) => sum + length, 0);
}
