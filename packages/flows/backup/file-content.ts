/**
 * Stores the contents of files. Small files share a slab, so that hundreds of them are one piece of
 * work; large ones pass through slabs one after the other and are cut by content, holes left out.
 */
import { closeSync, fstatSync, read } from 'node:fs';
import { promisify } from 'node:util';
import {
  type ContentPiece,
  type FileContent,
  type FindingCode,
  isOutOfResources,
  mapAhead,
  required,
  type RunContext,
  systemErrorCode,
  TaskQueue,
  tellDone,
} from '@coffer/base';
import { OPEN_NO_WAIT, OPEN_READ, openAt, statOf } from '@coffer/base/folder-calls.ts';
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
import type { FileThreads } from '@coffer/workloads/files/file-threads.ts';
import type { SourceFolder } from '@coffer/workloads/files/source-folder.ts';
import { type EmptyFile, HiddenContents, readToEnd } from './hidden-content.ts';
import { SmallFileBatch, type UnreadFile } from './small-file-batch.ts';

/** A file up to the smallest chunk is one chunk, whatever it holds. */
const SMALL_SIZE_BYTES_MAX = GEOMETRY.fileChunkSizeBytes.min;
/** Holes smaller than this are read: cutting there would make small chunks. */
const HOLE_BYTES_MIN = 128 * 1024;

/** Slabs of one file under way at once. */
const SLABS_PER_FILE = 4;

export interface ContentStoreOptions {
  readonly session: Session;
  readonly writeNode: WriteNode;
  readonly slabCount: number;
  /** They end with whoever has started them. */
  readonly threads: FileThreads;
}

export interface FileToStore {
  /** It is open until `store` returns. */
  readonly folder: SourceFolder;
  readonly name: Buffer;
  /** As the metadata says; the file may be shorter or longer by now. */
  readonly sizeBytes: number;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
  readonly inode: bigint;
  readonly device: bigint;
  /** The file that has the name in the folder now, when another one had it; undefined for none. */
  readonly lookAgain: (folder: number) => FileToStore | undefined;
  /** Told the content, and the size that was found. */
  readonly onStored: (content: FileContent, sizeBytes: number) => void;
  readonly onFinding: (code: FindingCode, error?: unknown) => void;
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
  #batch: SmallFileBatch | undefined;
  bytesRead = 0;

  constructor(run: RunContext, options: ContentStoreOptions) {
    this.#run = run;
    this.#options = options;
    // Some are read while others are sealed.
    const slabCount = options.slabCount + options.threads.countMax;
    // One more for the batch that is being filled while all others are under way.
    this.#slabs = new SlabPool(slabCount + 1);
    this.#tasks = new TaskQueue(slabCount);
  }

  /** Takes a file. One that cannot be read is a finding. */
  async store(file: FileToStore): Promise<Stored> {
    if (file.sizeBytes === 0 && !this.mayHide(file)) {
      file.onStored({ form: 'pieces', pieces: [] }, 0);
      return NOTHING;
    }
    if (file.sizeBytes > 0 && file.sizeBytes <= SMALL_SIZE_BYTES_MAX)
      return await this.#storeSmall(file);
    const stored = Promise.withResolvers<void>();
    stored.promise.catch(() => {});
    await this.#tasks.add(
      async () => await settle(stored, () => this.#storeAlone(file, file.folder.fd)),
    );
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
    this.#batch?.[Symbol.dispose]();
    await this.#tasks[Symbol.asyncDispose]();
  }

  async #storeSmall(file: FileToStore): Promise<Stored> {
    if (this.#batch && !this.#batch.hasRoomFor(file)) await this.#flushBatch();
    this.#batch ??= new SmallFileBatch(await this.#slabs.acquire());
    this.#batch.add(file);
    return { stored: this.#batch.stored.promise };
  }

  async #flushBatch(): Promise<void> {
    const batch = this.#batch;
    if (!batch) return;
    this.#batch = undefined;
    await this.#tasks.add(async () => await settle(batch.stored, () => this.#storeBatch(batch)));
  }

  async #storeBatch(batch: SmallFileBatch): Promise<void> {
    using _ = batch;
    let unread: readonly UnreadFile[];
    try {
      this.#run.signal.throwIfAborted();
      unread = await this.#readBatch(batch);
      await this.#writeBatch(batch);
    } finally {
      this.#slabs.release(batch.slab);
    }
    for (const { file, folder } of unread) await this.#storeAlone(file, folder);
  }

  /** Returns those that have to be read by themselves. */
  async #readBatch(batch: SmallFileBatch): Promise<readonly UnreadFile[]> {
    const { unread, bytesRead } = await batch.read(this.#options.threads);
    this.bytesRead += bytesRead;
    tellDone(this.#run, { bytes: bytesRead });
    return unread;
  }

  async #writeBatch({ slab, whole }: SmallFileBatch): Promise<void> {
    const spans = whole.map(({ span }) => span);
    const ids = await this.#options.session.writer.write(slab, spans);
    whole.forEach(({ file, span: { length } }, index) => {
      const id = required(ids[index], 'each span has an id');
      file.onStored({ form: 'pieces', pieces: [{ id, length }] }, length);
    });
  }

  /** `folder` is a descriptor of the folder that it is in. */
  async #storeAlone(file: FileToStore, folder: number, isAgain = false): Promise<void> {
    try {
      const fd = openForReading(file, folder);
      try {
        await (file.sizeBytes === 0 ? this.#storeHidden(fd, file) : this.#storeOpen(fd, file));
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      const code = systemErrorCode(error);
      // What the file system refuses is a finding; what concerns more than the file ends the run.
      if (code === undefined || isOutOfResources(error)) throw error;
      // Programs that save a file put a new one in its place, which may be long after it was seen.
      const other = code === 'ESTALE' && !isAgain ? file.lookAgain(folder) : undefined;
      if (other) await this.#storeAlone(other, folder, true);
      else file.onFinding(code === 'ENOENT' ? 'vanished' : 'unreadable', error);
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
function openForReading({ name, inode, device }: FileToStore, folder: number): number {
  // A file that became a fifo meanwhile must not block us.
  const fd = openAt(folder, name, OPEN_READ | OPEN_NO_WAIT);
  const stats = statOf(fd);
  if (stats.inode === inode && stats.device === device) return fd;
  closeSync(fd);
  throw Object.assign(new Error('another file took its name'), { code: 'ESTALE' });
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
