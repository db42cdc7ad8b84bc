/**
 * Reads many small files of open folders, one call after the other: for threads, as `new-files.ts`
 * is. What meets anything unusual is told, and whoever asked reads it by the way that knows all cases.
 */
import { closeSync, readSync } from 'node:fs';
import { isSystemError } from '@coffer/base/errors.ts';
import { OPEN_NO_WAIT, OPEN_READ, openAt, statOf } from '@coffer/base/folder-calls.ts';

export interface SmallFileRequest {
  /** Which of the folders. */
  readonly folder: number;
  /** Bytes, in latin1: text crosses between threads at less cost than buffers. */
  readonly name: string;
  /** As it was seen; so many bytes are read at most. */
  readonly sizeBytes: number;
  readonly inode: bigint;
  readonly device: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
  /** Where its bytes go. */
  readonly slabOffset: number;
}

export interface SmallFilesRequest {
  /** Descriptors of open folders. */
  readonly folders: readonly number[];
  readonly files: readonly SmallFileRequest[];
}

/** Undefined when the file was not read: it is gone, another one has the name, or it is refused. */
export type SmallFileOutcome =
  | { readonly length: number; /** It is not as it was seen. */ readonly isChanged: boolean }
  | undefined;

export function readSmallFiles(
  slab: Buffer,
  { folders, files }: SmallFilesRequest,
): SmallFileOutcome[] {
  return files.map((file) => readSmallFile(slab, folders[file.folder]!, file));
}

function readSmallFile(slab: Buffer, folder: number, file: SmallFileRequest): SmallFileOutcome {
  let fd: number | undefined;
  try {
    // A file that became a fifo meanwhile must not block us.
    fd = openAt(folder, Buffer.from(file.name, 'latin1'), OPEN_READ | OPEN_NO_WAIT);
    return readOpen(fd, slab, file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function readOpen(fd: number, slab: Buffer, file: SmallFileRequest): SmallFileOutcome {
  const { sizeBytes, slabOffset } = file;
  let length = 0;
  while (length < sizeBytes) {
    const bytesRead = readSync(fd, slab, slabOffset + length, sizeBytes - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  // Afterwards, so that one look tells whether it was the file, and whether it has changed.
  const stats = statOf(fd);
  if (stats.inode !== file.inode || stats.device !== file.device) return undefined;
  const isChanged =
    stats.sizeBytes !== BigInt(sizeBytes) ||
    stats.modifiedNs !== file.modifiedNs ||
    // Who sets the time of modification back changes this one.
    stats.changedNs !== file.changedNs;
  return { length, isChanged };
}
