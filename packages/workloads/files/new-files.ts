/**
 * Makes many new files in open folders, one call after the other: for threads, since a call of the
 * system costs the same in each of them, and the main thread has better things to do. Descriptors are
 * the process's, and slabs are shared between threads, so a request is a few numbers for each file.
 *
 * It is the usual case only. What meets anything unusual is undone and told, and whoever asked does
 * it again by the way that knows all cases.
 */
import { closeSync, writeSync } from 'node:fs';
import { OPEN_CREATE_NEW, OPEN_WRITE, openAt, removeAt } from '@coffer/base/folder-calls.ts';
import { isSystemError, reasonOf } from '@coffer/base/errors.ts';
import { type OnRefused, type Property, setMetadataOfFile } from './target-metadata.ts';

/** Bytes of a file: where they are in the slab, and where they go. */
export interface NewPiece {
  readonly slabOffset: number;
  readonly fileOffset: number;
  readonly length: number;
}

export interface NewFileRequest {
  /** Which of the folders. */
  readonly folder: number;
  /** Bytes, in latin1: text crosses between threads at less cost than buffers. */
  readonly name: string;
  readonly mode: number;
  readonly userId: number;
  readonly groupId: number;
  readonly modifiedNs: bigint;
  /** In order, without gaps. */
  readonly pieces: readonly NewPiece[];
}

export interface NewFilesRequest {
  readonly folders: readonly {
    /** Its descriptor. */
    readonly fd: number;
    /** Files that are made in it may have attributes of it. */
    readonly inherits: boolean;
  }[];
  readonly files: readonly NewFileRequest[];
}

/** What the target could not keep of a new file; undefined when it was not made. */
export type NewFileOutcome = readonly { readonly what: Property; readonly reason: string }[];

const FILE_RIGHTS = 0o600;

export function makeNewFiles(
  slab: Buffer,
  { folders, files }: NewFilesRequest,
): (NewFileOutcome | undefined)[] {
  return files.map((file) => makeNewFile(slab, folders[file.folder]!, file));
}

function makeNewFile(
  slab: Buffer,
  folder: NewFilesRequest['folders'][number],
  { name: text, pieces, ...metadata }: NewFileRequest,
): NewFileOutcome | undefined {
  const name = Buffer.from(text, 'latin1');
  let fd: number | undefined;
  try {
    fd = openAt(folder.fd, name, OPEN_WRITE | OPEN_CREATE_NEW, FILE_RIGHTS);
    for (const piece of pieces) writePiece(fd, slab, piece);
    const refused: { what: Property; reason: string }[] = [];
    const onRefused: OnRefused = (what, error) => refused.push({ what, reason: reasonOf(error) });
    setMetadataOfFile(fd, { ...metadata, extendedAttributes: [] }, onRefused, folder);
    closeSync(fd);
    return refused;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (fd !== undefined) undo(folder.fd, name, fd);
    return undefined;
  }
}

function writePiece(fd: number, slab: Buffer, { slabOffset, fileOffset, length }: NewPiece): void {
  for (let done = 0; done < length;) {
    done += writeSync(fd, slab, slabOffset + done, length - done, fileOffset + done);
  }
}

function undo(folder: number, name: Buffer, fd: number): void {
  try {
    closeSync(fd);
    removeAt(folder, name);
  } catch (error) {
    // Who does it again meets what is left.
    if (!isSystemError(error)) throw error;
  }
}
