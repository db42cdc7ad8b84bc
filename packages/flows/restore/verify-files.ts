/** Reads restored files back and compares them with the point, chunk by chunk. */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { type FileEntry, type Finding, required, systemErrorCode } from '@coffer/base';
import { type ChunkReader, contentPieces, SLAB_SIZE_BYTES } from '@coffer/repository';
import { joinPath } from '@coffer/workloads/files/metadata.ts';
import type { PathTarget } from '../point-path.ts';
import { walkFiles } from '../walk.ts';

export async function verifyFiles(
  reader: ChunkReader,
  wanted: PathTarget,
  target: string,
  isIncluded: (relative: Buffer, isFolder: boolean) => boolean,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const verify = async (entry: FileEntry, relative: Buffer): Promise<void> => {
    if (entry.type !== 'file' || !isIncluded(relative, false)) return;
    const reason = await difference(reader, entry, joinPath(Buffer.from(target), relative));
    if (reason === undefined) return;
    findings.push({ code: 'differs', path: relative.toString('utf8'), message: reason });
  };
  if (wanted.form === 'entry' && !wanted.entry.folder) {
    await verify(wanted.entry, wanted.entry.name);
    return findings;
  }
  const folder =
    wanted.form === 'root' ? wanted.folder : required(wanted.entry.folder, 'a folder has a node');
  for await (const { entry, relative } of walkFiles(reader, folder)) await verify(entry, relative);
  return findings;
}

async function difference(
  reader: ChunkReader,
  entry: FileEntry,
  path: Buffer,
): Promise<string | undefined> {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      return await differenceOf(reader, entry, fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    return error instanceof Error ? error.message : String(error);
  }
}

async function differenceOf(
  reader: ChunkReader,
  entry: FileEntry,
  fd: number,
): Promise<string | undefined> {
  if (!entry.content) return 'the point has no content for it';
  const buffer = Buffer.alloc(SLAB_SIZE_BYTES);
  let offset = 0;
  for await (const { id, length } of contentPieces(reader, entry.content)) {
    // Runs of zeroes are of any length; every part of one is zero too.
    for (let done = 0; done < length; done += buffer.length) {
      const wanted = Math.min(buffer.length, length - done);
      const bytesRead = readSync(fd, buffer, 0, wanted, offset + done);
      const isEqual = bytesRead === wanted && reader.matches(id, buffer.subarray(0, wanted));
      if (!isEqual) return `it differs at or after byte ${offset + done}`;
    }
    offset += length;
  }
  return readSync(fd, buffer, 0, 1, offset) > 0 ? 'it is longer than in the point' : undefined;
}
