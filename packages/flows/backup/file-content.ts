/**
 * Stores the contents of files. Small files share a slab, so that hundreds of them are one piece of
 * work; large ones pass through slabs one after the other and are cut by content, holes left out.
 */
import { closeSync, fstatSync, read, readSync } from 'node:fs';
import { promisify } from 'node:util';
import {
  type ContentPiece,
  type FileContent,
  type FindingCode,
  mapAhead,
  required,
  type RunContext,
  systemErrorCode,
  TaskQueue,
  tellDone,
} from '@coffer/base';
import { OPEN_NO_WAIT, OPEN_READ, statOf } from '@coffer/base/folder-calls.ts';
import { nextData } from '@coffer/base/libc.ts';
import {
  ContentBuilder,
  GEOMETRY,
  type Session,
  type Slab,
  SLAB_SIZE_BYTES,
  SlabPool,
  type Span,
  type WriteNode,
  ZERO_ID,
} from '@coffer/repository';
import { type EmptyFile, HiddenContents, readToEnd } from './hidden-content.ts';

/** A file up to the smallest chunk is one chunk, whatever it holds. */
const SMALL_SIZE_BYTES_MAX = GEOMETRY.fileChunkSizeBytes.min;
const SMALL_FILES_PER_SLAB = 1024;
/** Holes smaller than this are read: cutting there would make small chunks. */
const HOLE_BYTES_MIN = 128 * 1024;

/** Slabs of one file under way at once. */
const SLABS_PER_FILE = 4;

export interface ContentStoreOptions {
  readonly session: Session;
  readonly writeNode: WriteNode;
  readonly slabCount: number;
}

export interface FileToStore {
  /** Opens it in its folder, which is open until `store` returns. */
  readonly open: (flags: number) => number;
  /** As the metadata says; the file may be shorter or longer by now. */
  readonly sizeBytes: number;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
  readonly inode: bigint;
  readonly device: bigint;
  /** The file that has the name now, when another one had it; undefined when there is none. */
  readonly lookAgain: () => FileToStore | undefined;
  /** Told the content, and the size that was found. */
  readonly onStored: (content: FileContent, sizeBytes: number) => void;
  readonly onFinding: (code: FindingCode, error?: unknown) => void;
}

/** Small files that share a slab. */
interface Batch {
  readonly slab: Slab;
  readonly spans: Span[];
  readonly files: FileToStore[];
  used: number;
  readonly stored: PromiseWithResolvers<void>;
}

/** Resolves when the content is stored. It is an object, since a promise in a promise is one. */
export interface Stored {
  readonly stored: Promise<void>;
}

const NOTHING: Stored = { stored: Promise.resolve() };

const readAsync = promisify(read);

export class ContentStore implements AsyncDisposable {
  readonly #run: RunContext;
  readonly #options: ContentStoreOptions;
  readonly #slabs: SlabPool;
  readonly #tasks: TaskQueue;
  readonly #hidden = new HiddenContents();
  #batch: Batch | undefined;
  bytesRead = 0;

  constructor(run: RunContext, options: ContentStoreOptions) {
    this.#run = run;
    this.#options = options;
    // One more for the batch that is being filled while all others are under way.
    this.#slabs = new SlabPool(options.slabCount + 1);
    this.#tasks = new TaskQueue(options.slabCount);
  }

  /** Takes a file; fails as system calls do when a small one cannot be read. */
  async store(file: FileToStore): Promise<Stored> {
    if (file.sizeBytes === 0 && !this.mayHide(file)) {
      file.onStored({ form: 'pieces', pieces: [] }, 0);
      return NOTHING;
    }
    if (file.sizeBytes > 0 && file.sizeBytes <= SMALL_SIZE_BYTES_MAX)
      return await this.#storeSmall(file);
    const stored = Promise.withResolvers<void>();
    stored.promise.catch(() => {});
    await this.#tasks.add(async () => await settle(stored, () => this.#storeLarge(file)));
    return { stored: stored.promise };
  }

  /** Whether the file may have content though it says that it is empty. */
  mayHide(file: EmptyFile): boolean {
    return this.#hidden.mayHave(file);
  }

  /** Returns when all that was taken is stored. */
  async flush(): Promise<void> {
    await this.#flushBatch();
    await this.#tasks.drain();
  }

  /** Waits for what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tasks[Symbol.asyncDispose]();
  }

  async #storeSmall(file: FileToStore): Promise<Stored> {
    const batch = await this.#batchFor(file.sizeBytes);
    const length = readSmall(file, batch.slab.bytes, batch.used);
    this.bytesRead += length;
    tellDone(this.#run, { bytes: length });
    if (length === 0) {
      file.onStored({ form: 'pieces', pieces: [] }, 0);
      return NOTHING;
    }
    batch.spans.push({ offset: batch.used, length });
    batch.files.push(file);
    batch.used += length;
    return { stored: batch.stored.promise };
  }

  async #batchFor(sizeBytes: number): Promise<Batch> {
    const open = this.#batch;
    const fits = open && open.used + sizeBytes <= SLAB_SIZE_BYTES;
    if (open && fits && open.files.length < SMALL_FILES_PER_SLAB) return open;
    await this.#flushBatch();
    const slab = await this.#slabs.acquire();
    const stored = Promise.withResolvers<void>();
    stored.promise.catch(() => {});
    this.#batch = { slab, spans: [], files: [], used: 0, stored };
    return this.#batch;
  }

  async #flushBatch(): Promise<void> {
    const batch = this.#batch;
    if (!batch) return;
    this.#batch = undefined;
    await this.#tasks.add(async () => await settle(batch.stored, () => this.#writeBatch(batch)));
  }

  async #writeBatch({ slab, spans, files }: Batch): Promise<void> {
    try {
      const ids = await this.#options.session.writer.write(slab, spans);
      files.forEach((file, index) => {
        const { length } = required(spans[index], 'each file has a span');
        const id = required(ids[index], 'each span has an id');
        file.onStored({ form: 'pieces', pieces: [{ id, length }] }, length);
      });
    } finally {
      this.#slabs.release(slab);
    }
  }

  async #storeLarge(file: FileToStore, isAgain = false): Promise<void> {
    try {
      const fd = openForReading(file);
      try {
        await (file.sizeBytes === 0 ? this.#storeHidden(fd, file) : this.#storeOpen(fd, file));
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      // What the file system refuses is a finding; what the repository refuses ends the run.
      if (systemErrorCode(error) === undefined) throw error;
      // Programs that save a file put a new one in its place, which may be long after it was seen.
      const other = systemErrorCode(error) === 'ESTALE' && !isAgain ? file.lookAgain() : undefined;
      if (other) {
        await this.#storeLarge(other, true);
        return;
      }
      file.onFinding('unreadable', error);
    }
  }

  /** Stores what a file holds that says it is empty. */
  async #storeHidden(fd: number, file: FileToStore): Promise<void> {
    const content = new ContentBuilder(this.#options.writeNode);
    const length = await this.#slabs.use(async (slab) => {
      const read = await readToEnd(fd, slab.bytes);
      if (read > 0) await this.#storeSlab(slab, read, content);
      return read;
    });
    this.bytesRead += length;
    tellChange(fd, file);
    file.onStored(await content.finish(), length);
  }

  async #storeSlab(slab: Slab, length: number, content: ContentBuilder): Promise<void> {
    const { writer } = this.#options.session;
    const spans = consecutive(await writer.cut(slab, { offset: 0, length }, true));
    const ids = await writer.write(slab, spans);
    for (const [index, span] of spans.entries()) {
      await content.add({ id: required(ids[index], 'each span has an id'), length: span.length });
      tellDone(this.#run, { bytes: span.length });
    }
  }

  async #storeOpen(fd: number, file: FileToStore): Promise<void> {
    const content = new ContentBuilder(this.#options.writeNode);
    const isSparse = fstatSync(fd).blocks * 512 < file.sizeBytes;
    let offset = 0;
    for (const run of dataRuns(fd, file.sizeBytes, isSparse)) {
      if (run.offset > offset) await content.add({ id: ZERO_ID, length: run.offset - offset });
      const length = await this.#storeRun(fd, run, content);
      offset = run.offset + length;
      if (length < run.length) break;
    }
    const endsInHole = isSparse && offset < file.sizeBytes && fstatSync(fd).size >= file.sizeBytes;
    if (endsInHole) {
      await content.add({ id: ZERO_ID, length: file.sizeBytes - offset });
      offset = file.sizeBytes;
    }
    tellChange(fd, file);
    file.onStored(await content.finish(), offset);
  }

  /** Stores a run of data; returns its length, which is shorter when the file ends early. */
  async #storeRun(fd: number, run: Span, content: ContentBuilder): Promise<number> {
    const pieces = mapAhead(this.#cutRun(fd, run), SLABS_PER_FILE, async ({ slab, spans }) => {
      try {
        const ids = await this.#options.session.writer.write(slab, spans);
        return ids.map((id, index): ContentPiece => {
          const { length } = required(spans[index], 'each id has a span');
          return { id, length };
        });
      } finally {
        this.#slabs.release(slab);
      }
    });
    let length = 0;
    for await (const stored of pieces) {
      for (const piece of stored) {
        await content.add(piece);
        length += piece.length;
        tellDone(this.#run, { bytes: piece.length });
      }
    }
    return length;
  }

  /** Slabs of whole chunks, in order; what follows the last cut goes on in the next slab. */
  async *#cutRun(fd: number, run: Span): AsyncGenerator<{ slab: Slab; spans: Span[] }> {
    const { session } = this.#options;
    let carried = Buffer.alloc(0);
    let offset = run.offset;
    let left = run.length;
    while (left > 0 || carried.length > 0) {
      this.#run.signal.throwIfAborted();
      const slab = await this.#slabs.acquire();
      let cut: { slab: Slab; spans: Span[] };
      try {
        carried.copy(slab.bytes);
        const start = carried.length;
        const wanted = Math.min(left, SLAB_SIZE_BYTES - start);
        const { length, ended } = await fill(fd, slab.bytes, { start, length: wanted, offset });
        this.bytesRead += length;
        offset += length;
        left = ended ? 0 : left - length;
        const used = start + length;
        const lengths = await session.writer.cut(slab, { offset: 0, length: used }, left === 0);
        const spans = consecutive(lengths);
        const cutEnd = lengths.reduce((sum, each) => sum + each, 0);
        carried = Buffer.from(slab.bytes.subarray(cutEnd, used));
        cut = { slab, spans };
      } catch (error) {
        this.#slabs.release(slab);
        throw error;
      }
      yield cut;
    }
  }
}

async function settle(
  { resolve, reject }: PromiseWithResolvers<void>,
  task: () => Promise<void>,
): Promise<void> {
  try {
    await task();
    resolve();
  } catch (error) {
    reject(error);
    throw error;
  }
}

/** Fails with `ESTALE` when another file has taken the name since: it has another owner, perhaps. */
function openForReading({ open, inode, device }: FileToStore): number {
  // A file that became a fifo meanwhile must not block us.
  const fd = open(OPEN_READ | OPEN_NO_WAIT);
  const stats = statOf(fd);
  if (stats.inode === inode && stats.device === device) return fd;
  closeSync(fd);
  throw Object.assign(new Error('another file took its name'), { code: 'ESTALE' });
}

function readSmall(file: FileToStore, target: Buffer, start: number): number {
  const fd = openForReading(file);
  try {
    let length = 0;
    while (length < file.sizeBytes) {
      const bytesRead = readSync(fd, target, start + length, file.sizeBytes - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    tellChange(fd, file);
    return length;
  } finally {
    closeSync(fd);
  }
}

function tellChange(fd: number, file: FileToStore): void {
  const stats = statOf(fd);
  const isSame =
    stats.sizeBytes === BigInt(file.sizeBytes) &&
    stats.modifiedNs === file.modifiedNs &&
    // Who sets the time of modification back changes this one.
    stats.changedNs === file.changedNs;
  if (isSame) return;
  file.onFinding('changed');
}

/** Runs of data with no hole of note between them. */
function* dataRuns(fd: number, sizeBytes: number, isSparse: boolean): Generator<Span> {
  if (!isSparse) {
    yield { offset: 0, length: sizeBytes };
    return;
  }
  let open: { offset: number; length: number } | undefined;
  for (let offset = 0; offset < sizeBytes;) {
    const run = nextData(fd, offset, sizeBytes);
    if (!run) break;
    if (open && run.offset - (open.offset + open.length) < HOLE_BYTES_MIN) {
      open.length = run.offset + run.length - open.offset;
    } else {
      if (open) yield open;
      open = { ...run };
    }
    offset = run.offset + run.length;
  }
  if (open) yield open;
}

async function fill(
  fd: number,
  target: Buffer,
  place: { start: number; length: number; offset: number },
): Promise<{ length: number; ended: boolean }> {
  let length = 0;
  while (length < place.length) {
    const rest = place.length - length;
    const at = place.offset + length;
    const { bytesRead } = await readAsync(fd, target, place.start + length, rest, at);
    if (bytesRead === 0) return { length, ended: true };
    length += bytesRead;
  }
  return { length, ended: false };
}

function consecutive(lengths: readonly number[]): Span[] {
  let offset = 0;
  return lengths.map((length) => {
    const span = { offset, length };
    offset += length;
    return span;
  });
}
