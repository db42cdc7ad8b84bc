/**
 * Makes many new files in open folders, one call after the other: for threads, since a call of the
 * system costs the same in each of them, and the main thread has better things to do. Descriptors are
 * the process's, and slabs are shared between threads, so a request is a few numbers for each file.
 *
 * It is the usual case only. What meets anything unusual is undone and told, and whoever asked does
 * it again by the way that knows all cases.
 */
import { closeSync, writeSync } from 'node:fs';
import { isSystemError, reasonOf } from '@coffer/base/errors.ts';
import {
  OPEN_CREATE_NEW,
  OPEN_WRITE,
  openAt,
  removeAt,
  renameToNew,
} from '@coffer/base/folder-calls.ts';
import { SystemError } from '@coffer/base/libc.ts';
import { type OnRefused, type Property, setMetadataOfFile } from './target-metadata.ts';
import { temporaryName } from './temporary-name.ts';

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

type NewFolder = NewFilesRequest['folders'][number];

/** A file has its name when it is whole: what a killed run leaves is not taken for it. */
export function makeNewFiles(
  slab: Buffer,
  { folders, files }: NewFilesRequest,
): (NewFileOutcome | undefined)[] {
  let canRename = true;
  return files.map((file) => {
    if (!canRename) return undefined;
    try {
      return makeNewFile(slab, folders[file.folder]!, file);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      canRename = !isUnknownRename(error);
      return undefined;
    }
  });
}

/** Where a name that may be taken cannot be asked for, that is so for all names. */
function isUnknownRename(error: unknown): boolean {
  return error instanceof SystemError && error.syscall === 'renameat2' && error.code === 'EINVAL';
}

function makeNewFile(slab: Buffer, folder: NewFolder, file: NewFileRequest): NewFileOutcome {
  const temporary = temporaryName();
  const fd = openAt(folder.fd, temporary, OPEN_WRITE | OPEN_CREATE_NEW, FILE_RIGHTS);
  try {
    const refused = fill(fd, slab, folder, file);
    renameToNew(temporary, Buffer.from(file.name, 'latin1'), folder.fd);
    return refused;
  } catch (error) {
    removeAt(folder.fd, temporary);
    throw error;
  }
}

/** Closes it: on a network file system, that may be what says that there is no space. */
function fill(
  fd: number,
  slab: Buffer,
  folder: NewFolder,
  { pieces, ...metadata }: NewFileRequest,
): NewFileOutcome {
  const refused: { what: Property; reason: string }[] = [];
  try {
    for (const piece of pieces) writePiece(fd, slab, piece);
    const onRefused: OnRefused = (what, error) => refused.push({ what, reason: reasonOf(error) });
    setMetadataOfFile(fd, { ...metadata, extendedAttributes: [] }, onRefused, folder);
  } finally {
    closeSync(fd);
  }
  return refused;
}

function writePiece(fd: number, slab: Buffer, { slabOffset, fileOffset, length }: NewPiece): void {
  for (let done = 0; done < length;) {
    done += writeSync(fd, slab, slabOffset + done, length - done, fileOffset + done);
  }
}
