/**
 * Makes many new files in open folders, one call after the other: for threads, since a call of the
 * system costs the same in each of them, and the main thread has better things to do. Descriptors are
 * the process's, and slabs are shared between threads, so a request is a few numbers for each file.
 *
 * It is the usual case only. What meets anything unusual is undone and told, and whoever asked does
 * it again by the way that knows all cases.
 */
import { closeSync, writeSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import { isSystemError, reasonOf, systemErrorCode } from '@coffer/base/errors.ts';
import {
  OPEN_CREATE_NEW,
  OPEN_WRITE,
  openAt,
  removeAt,
  renameToNew,
} from '@coffer/base/folder-calls.ts';
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

/** A file has its name when it is whole: one that a killed run leaves cut is under no name of another. */
export function makeNewFiles(
  slab: Buffer,
  { folders, files }: NewFilesRequest,
): (NewFileOutcome | undefined)[] {
  let isRefused = false;
  return files.map((file) => {
    // Where a name cannot be given to what has none yet, it is so for all of them.
    if (isRefused) return undefined;
    const made = makeNewFile(slab, folders[file.folder]!, file);
    isRefused = made === 'no-renames';
    return made === 'no-renames' ? undefined : made;
  });
}

let namesTaken = 0;

function makeNewFile(
  slab: Buffer,
  folder: NewFilesRequest['folders'][number],
  { name, pieces, ...metadata }: NewFileRequest,
): NewFileOutcome | undefined | 'no-renames' {
  const temporary = Buffer.from(`.coffer-${process.pid}-${threadId}-${namesTaken++}`);
  let fd: number | undefined;
  let step: 'write' | 'name' = 'write';
  try {
    fd = openAt(folder.fd, temporary, OPEN_WRITE | OPEN_CREATE_NEW, FILE_RIGHTS);
    for (const piece of pieces) writePiece(fd, slab, piece);
    const refused: { what: Property; reason: string }[] = [];
    const onRefused: OnRefused = (what, error) => refused.push({ what, reason: reasonOf(error) });
    setMetadataOfFile(fd, { ...metadata, extendedAttributes: [] }, onRefused, folder);
    step = 'name';
    renameToNew(temporary, Buffer.from(name, 'latin1'), folder.fd);
    closeSync(fd);
    return refused;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (fd !== undefined) undo(folder.fd, temporary, fd);
    return step === 'name' && systemErrorCode(error) === 'EINVAL' ? 'no-renames' : undefined;
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
