/**
 * Threads for calls of the system on many small files, which cost the same in each thread, and which a
 * disk may answer late. They start with the first batch that is worth it, one more when all have work,
 * and end with whoever has started them.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { assert } from '@coffer/base';
import { type FolderListing, listFolder } from './folder-listing.ts';
import { makeNewFiles, type NewFileOutcome, type NewFilesRequest } from './new-files.ts';
import { readSmallFiles, type SmallFileOutcome, type SmallFilesRequest } from './small-files.ts';

/** Where a slab lies in memory that threads share. */
interface SlabMemory {
  readonly memory: SharedArrayBuffer;
  readonly offset: number;
  readonly length: number;
}

export type FileTask =
  | { readonly kind: 'list'; readonly folder: number }
  | ({ readonly kind: 'make'; readonly request: NewFilesRequest } & SlabMemory)
  | ({ readonly kind: 'read'; readonly request: SmallFilesRequest } & SlabMemory);

/** Of the kind of the task; those of files in their order. */
type Outcome = FolderListing | undefined | (NewFileOutcome | undefined)[] | SmallFileOutcome[];

export type FileThreadResult = { readonly outcome: Outcome } | { readonly error: unknown };

/** Files in folders of one file system wait for each other; more threads than this only wait. */
const THREADS_MAX = 4;
/** Fewer files than this are done here, before a thread has loaded its code. */
const FILES_WORTH_A_THREAD = 64;
const FOLDERS_WORTH_A_THREAD = 16;

export class FileThreads implements AsyncDisposable {
  readonly #threadsMax: number;
  readonly #threads: FileThread[] = [];
  #listed = 0;

  constructor(threadsMax = Math.min(availableParallelism(), THREADS_MAX)) {
    this.#threadsMax = threadsMax;
  }

  get countMax(): number {
    return this.#threadsMax;
  }

  /** The folder stays open until then. */
  async list(folder: number): Promise<FolderListing | undefined> {
    const isSmall = this.#threads.length === 0 && ++this.#listed <= FOLDERS_WORTH_A_THREAD;
    if (isSmall || this.#threadsMax === 0) return listFolder(folder);
    return (await this.#idlest().ask({ kind: 'list', folder })) as FolderListing | undefined;
  }

  /** In the order of the files; the folders stay open until then. */
  async make(slab: Buffer, request: NewFilesRequest): Promise<(NewFileOutcome | undefined)[]> {
    if (this.#isDoneHere(request)) return makeNewFiles(slab, request);
    const outcomes = await this.#idlest().ask({ kind: 'make', request, ...memoryOf(slab) });
    return outcomes as (NewFileOutcome | undefined)[];
  }

  /** The same. */
  async read(slab: Buffer, request: SmallFilesRequest): Promise<SmallFileOutcome[]> {
    if (this.#isDoneHere(request)) return readSmallFiles(slab, request);
    const outcomes = await this.#idlest().ask({ kind: 'read', request, ...memoryOf(slab) });
    return outcomes as SmallFileOutcome[];
  }

  #isDoneHere({ files: { length } }: NewFilesRequest | SmallFilesRequest): boolean {
    const isSmall = length < FILES_WORTH_A_THREAD && this.#threads.length === 0;
    return length === 0 || isSmall || this.#threadsMax === 0;
  }

  #idlest(): FileThread {
    const free = this.#threads.find(({ waiting }) => waiting === 0);
    if (free) return free;
    if (this.#threads.length < this.#threadsMax) {
      const started = new FileThread();
      this.#threads.push(started);
      return started;
    }
    return this.#threads.reduce((a, b) => (b.waiting < a.waiting ? b : a));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()));
  }
}

function memoryOf({ buffer: memory, byteOffset: offset, length }: Buffer): SlabMemory {
  assert(memory instanceof SharedArrayBuffer, 'slabs are shared');
  return { memory, offset, length };
}

interface Waiting {
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

/** Answers come in the order of the requests. */
class FileThread {
  // What it closes was opened by calls that Node does not know, on purpose.
  readonly #worker = new Worker(new URL('./file-thread.ts', import.meta.url), {
    trackUnmanagedFds: false,
  });
  readonly #waiting: Waiting[] = [];
  readonly #ready = Promise.withResolvers<void>();
  #failure: { readonly error: unknown } | undefined;

  constructor() {
    this.#worker.on('message', (result: FileThreadResult | 'ready') => {
      if (result === 'ready') this.#ready.resolve();
      else if ('error' in result) this.#waiting.shift()?.reject(result.error);
      else this.#waiting.shift()?.resolve(result.outcome);
    });
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', () => this.#fail(new Error('a file thread ended')));
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  async ask(task: FileTask): Promise<Outcome> {
    if (this.#failure) throw this.#failure.error;
    return await new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(task);
    });
  }

  async close(): Promise<void> {
    // A thread that is ended while it loads native code takes the process with it.
    await this.#ready.promise;
    await this.#worker.terminate();
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#ready.resolve();
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}
