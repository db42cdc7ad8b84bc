/**
 * Writes the files of a restore. A file that replaces another is written beside it and renamed; one
 * that cannot be written whole is not left under its name.
 */
import { closeSync, fstatSync, readSync, writeSync } from 'node:fs';
import { type ContentPiece, CofferError, type FileEntry } from '@coffer/base';
import { punchHole } from '@coffer/base/libc.ts';
import {
  type ChunkReader,
  type ChunkWork,
  contentPieces,
  isZeroId,
  SLAB_SIZE_BYTES,
  type SlabPool,
} from '@coffer/repository';
import {
  endFileAt,
  type OnRefused,
  setMetadataOfFile,
} from '@coffer/workloads/files/target-folder.ts';
import type { Progress } from '../progress.ts';
import type { OpenFolder } from './open-folder.ts';

export interface FilesRestoreResult {
  bytesWritten: number;
  bytesKept: number;
  fileCount: number;
}

/** A file to be written. */
export interface FileJob {
  readonly entry: FileEntry;
  readonly folder: OpenFolder;
  readonly relative: Buffer;
  /** The name it gets, which is another one when both versions are kept. */
  readonly name: Buffer;
  /** Whether a file of that name is there, and is to be replaced or brought up to date. */
  readonly existing: 'none' | 'replace' | 'update';
}

export interface FileWriterOptions {
  readonly reader: ChunkReader;
  readonly work: ChunkWork;
  readonly slabs: SlabPool;
  readonly progress: Progress;
  /** Counts what is written and kept. */
  readonly result: FilesRestoreResult;
  /** Takes what of the metadata of a path could not be restored. */
  readonly refused: (relative: Buffer) => OnRefused;
  readonly signal?: AbortSignal | undefined;
}

export class FileWriter {
  readonly #options: FileWriterOptions;

  constructor(options: FileWriterOptions) {
    this.#options = options;
  }

  /** Writes a file whose pieces are there, one after the other. */
  writeSmall(job: FileJob, bytes: Buffer, pieces: readonly ContentPiece[]): void {
    const { folder, entry, name } = job;
    const temporary = job.existing === 'replace' ? temporaryName(name) : name;
    const fd = folder.target.createFile(temporary);
    try {
      try {
        writePieces(fd, bytes, pieces);
        this.#finishFile(fd, job);
      } finally {
        closeSync(fd);
      }
      if (temporary !== name) folder.target.rename(temporary, name);
    } catch (error) {
      folder.target.remove(temporary);
      throw error;
    }
    this.#options.result.bytesWritten += entry.sizeBytes;
    this.#options.progress.bytesDone += entry.sizeBytes;
    this.#options.progress.itemsDone++;
  }

  #finishFile(fd: number, { entry, relative }: FileJob): void {
    const last = entry.content?.form === 'pieces' ? entry.content.pieces.at(-1) : undefined;
    const endsInHole = entry.content?.form === 'tree' || (last && isZeroId(last.id));
    if (endsInHole) endFileAt(fd, entry.sizeBytes);
    setMetadataOfFile(fd, entry, this.#options.refused(relative));
  }

  /** Fetches and writes a file, or brings the one that is there up to date. */
  async writeLarge(job: FileJob): Promise<void> {
    if (job.existing === 'update') {
      await this.#update(job);
      return;
    }
    const { folder, name, entry } = job;
    const temporary = job.existing === 'replace' ? temporaryName(name) : name;
    const fd = folder.target.createFile(temporary);
    try {
      try {
        await this.#writeWindows(fd, job, () => true);
        endFileAt(fd, entry.sizeBytes);
        setMetadataOfFile(fd, entry, this.#options.refused(job.relative));
      } finally {
        closeSync(fd);
      }
      if (temporary !== name) folder.target.rename(temporary, name);
    } catch (error) {
      folder.target.remove(temporary);
      throw error;
    }
  }

  /** Writes in place what differs, and nothing else. */
  async #update(job: FileJob): Promise<void> {
    const { folder, name, entry } = job;
    const fd = folder.target.openFile(name);
    if (fd === undefined) throw new CofferError('target-unwritable', { reason: 'not a file' });
    const { reader } = this.#options;
    try {
      const sizeBefore = fstatSync(fd).size;
      const current = Buffer.allocUnsafe(SLAB_SIZE_BYTES);
      await this.#writeWindows(fd, job, ({ id, length }, offset) => {
        if (offset + length > sizeBefore || length > current.length) return true;
        readSync(fd, current, 0, length, offset);
        return !reader.matches(id, current.subarray(0, length));
      });
      endFileAt(fd, entry.sizeBytes);
      setMetadataOfFile(fd, entry, this.#options.refused(job.relative));
    } finally {
      closeSync(fd);
    }
  }

  /** Fetches and writes those pieces that are wanted, a slab at a time. */
  async #writeWindows(
    fd: number,
    job: FileJob,
    isWanted: (piece: ContentPiece, offset: number) => boolean,
  ): Promise<void> {
    const { reader, signal } = this.#options;
    const isNew = job.existing !== 'update';
    let offset = 0;
    let window: PlacedPiece[] = [];
    let used = 0;
    for await (const piece of contentPieces(reader, requiredContent(job.entry))) {
      signal?.throwIfAborted();
      const place = offset;
      offset += piece.length;
      if (!isWanted(piece, place)) this.#options.result.bytesKept += piece.length;
      else if (isZeroId(piece.id)) this.#writeHole(fd, place, piece.length, isNew);
      else {
        if (used + piece.length > SLAB_SIZE_BYTES) {
          await this.#writeWindow(fd, window);
          window = [];
          used = 0;
        }
        window.push({ piece, place, targetOffset: used });
        used += piece.length;
      }
      this.#options.progress.bytesDone += piece.length;
    }
    await this.#writeWindow(fd, window);
    if (offset !== job.entry.sizeBytes) {
      throw new CofferError('chunk-damaged', { reason: 'the content has another length' });
    }
  }

  async #writeWindow(fd: number, window: readonly PlacedPiece[]): Promise<void> {
    const { reader, work } = this.#options;
    await this.#options.slabs.use(async (slab) => {
      const requests = window.map(({ piece, targetOffset }) => ({ ...piece, targetOffset }));
      const [failure] = await reader.readInto(slab, requests, work);
      if (failure) throw failure.error;
      for (const { piece, place, targetOffset } of window) {
        writeAll(fd, slab.bytes.subarray(targetOffset, targetOffset + piece.length), place);
        this.#options.result.bytesWritten += piece.length;
      }
    });
  }

  #writeHole(fd: number, offset: number, length: number, isNew: boolean): void {
    if (isNew || punchHole(fd, offset, length)) return;
    const zeroes = Buffer.alloc(Math.min(length, SLAB_SIZE_BYTES));
    for (let done = 0; done < length; done += zeroes.length) {
      writeAll(fd, zeroes.subarray(0, Math.min(zeroes.length, length - done)), offset + done);
    }
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

function writeAll(fd: number, bytes: Buffer, offset: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }
}

function temporaryName(name: Buffer): Buffer {
  const suffix = Buffer.from('.coffer-new');
  return Buffer.concat([name.subarray(0, 255 - suffix.length), suffix]);
}
