/** Writes files of a recovery point, out of chunks. */
import { readSync } from 'node:fs';
import { type ContentPiece, CofferError, type FileEntry, tellDone } from '@coffer/base';
import {
  type ChunkReader,
  type ChunkWork,
  contentPieces,
  isZeroId,
  SLAB_SIZE_BYTES,
  type SlabPool,
} from '@coffer/repository';
import type { NewFileOutcome } from '@coffer/workloads/files/new-files.ts';
import { setMetadataOfFile } from '@coffer/workloads/files/target-metadata.ts';
import type { RestoreRun } from './restore-run.ts';
import {
  endFileAt,
  type FileJob,
  NewFile,
  withExistingFile,
  withNewFile,
  writeAll,
  writeHole,
} from './target-file.ts';

export interface FileWriterOptions {
  readonly reader: ChunkReader;
  readonly work: ChunkWork;
  readonly slabs: SlabPool;
  readonly run: RestoreRun;
}

export class FileWriter {
  readonly #options: FileWriterOptions;

  constructor(options: FileWriterOptions) {
    this.#options = options;
  }

  /** Writes a file whose pieces are there, one after the other. */
  writeSmall(job: FileJob<FileEntry>, bytes: Buffer, pieces: readonly ContentPiece[]): void {
    const file = new NewFile(job);
    try {
      writePieces(file.fd, bytes, pieces);
      this.#finishFile(file.fd, job);
      file.finish();
    } catch (error) {
      file.discard();
      throw error;
    }
    this.#count(job);
  }

  /** Counts a file that others have made, and tells what the target has not kept of it. */
  made(job: FileJob<FileEntry>, refused: NewFileOutcome): void {
    const tell = this.#options.run.findings.refused(job.relative);
    for (const { what, reason } of refused) tell(what, new Error(reason));
    this.#count(job);
  }

  #count({ entry: { sizeBytes } }: FileJob<FileEntry>): void {
    const { result, context } = this.#options.run;
    result.bytesWritten += sizeBytes;
    tellDone(context, { bytes: sizeBytes, items: 1 });
  }

  #finishFile(fd: number, { entry, relative }: FileJob<FileEntry>): void {
    const last = entry.content?.form === 'pieces' ? entry.content.pieces.at(-1) : undefined;
    const endsInHole = entry.content?.form === 'tree' || (last && isZeroId(last.id));
    if (endsInHole) endFileAt(fd, entry.sizeBytes);
    setMetadataOfFile(fd, entry, this.#options.run.findings.refused(relative));
  }

  /** Fetches and writes a file, or brings the one that is there up to date. */
  async writeLarge(job: FileJob<FileEntry>): Promise<void> {
    if (job.existing === 'update') await this.#update(job);
    else await withNewFile(job, async (fd) => await this.#writeLarge(fd, job, () => true));
  }

  /** Writes in place what differs, and nothing else. */
  async #update(job: FileJob<FileEntry>): Promise<void> {
    const { reader } = this.#options;
    const current = Buffer.allocUnsafe(Math.min(SLAB_SIZE_BYTES, job.entry.sizeBytes));
    await withExistingFile(job, async (fd, sizeBefore) => {
      await this.#writeLarge(fd, job, ({ id, length }, offset) => {
        if (offset + length > sizeBefore || length > current.length) return true;
        readSync(fd, current, 0, length, offset);
        return !reader.matches(id, current.subarray(0, length));
      });
    });
  }

  async #writeLarge(
    fd: number,
    job: FileJob<FileEntry>,
    isWanted: (piece: ContentPiece, offset: number) => boolean,
  ): Promise<void> {
    await this.#writeWindows(fd, job, isWanted);
    endFileAt(fd, job.entry.sizeBytes);
    setMetadataOfFile(fd, job.entry, this.#options.run.findings.refused(job.relative));
  }

  /** Fetches and writes those pieces that are wanted, a slab at a time. */
  async #writeWindows(
    fd: number,
    job: FileJob<FileEntry>,
    isWanted: (piece: ContentPiece, offset: number) => boolean,
  ): Promise<void> {
    const { reader, run } = this.#options;
    const isNew = job.existing !== 'update';
    let offset = 0;
    let window: PlacedPiece[] = [];
    let used = 0;
    for await (const piece of contentPieces(reader, requiredContent(job.entry))) {
      run.context.signal.throwIfAborted();
      const place = offset;
      offset += piece.length;
      if (!isWanted(piece, place)) run.result.bytesKept += piece.length;
      else if (isZeroId(piece.id)) {
        if (!isNew) writeHole(fd, place, piece.length);
      } else {
        if (used + piece.length > SLAB_SIZE_BYTES) {
          await this.#writeWindow(fd, window);
          window = [];
          used = 0;
        }
        window.push({ piece, place, targetOffset: used });
        used += piece.length;
      }
      tellDone(run.context, { bytes: piece.length });
    }
    await this.#writeWindow(fd, window);
    if (offset !== job.entry.sizeBytes) {
      throw new CofferError('chunk-damaged', { reason: 'the content has another length' });
    }
  }

  async #writeWindow(fd: number, window: readonly PlacedPiece[]): Promise<void> {
    if (window.length === 0) return;
    const { reader, work } = this.#options;
    await this.#options.slabs.use(async (slab) => {
      const requests = window.map(({ piece, targetOffset }) => ({ ...piece, targetOffset }));
      const [failure] = await reader.readInto(slab, requests, work);
      if (failure) throw failure.error;
      for (const { piece, place, targetOffset } of window) {
        writeAll(fd, slab.bytes.subarray(targetOffset, targetOffset + piece.length), place);
        this.#options.run.result.bytesWritten += piece.length;
      }
    });
  }
}

interface PlacedPiece {
  readonly piece: ContentPiece;
  /** Offset in the file. */
  readonly place: number;
  /** Offset in the slab. */
  readonly targetOffset: number;
}

function requiredContent(entry: FileEntry): NonNullable<FileEntry['content']> {
  if (entry.content) return entry.content;
  throw new CofferError('chunk-damaged', { reason: 'a file without content' });
}

function writePieces(fd: number, bytes: Buffer, pieces: readonly ContentPiece[]): void {
  let offset = 0;
  for (const { id, length } of pieces) {
    if (!isZeroId(id)) writeAll(fd, bytes.subarray(offset, offset + length), offset);
    offset += length;
  }
}
