/** What a restore would write. */
import { required } from '@coffer/base';
import type { ChunkReader } from '@coffer/repository';
import { walkFiles } from '../walk.ts';
import type { PathTarget } from '../point-path.ts';

/** Bytes of the files that would be restored. */
export async function measureFiles(
  reader: ChunkReader,
  wanted: PathTarget,
  isIncluded: (relative: Buffer, isFolder: boolean) => boolean,
): Promise<number> {
  if (wanted.form === 'entry' && !wanted.entry.folder) return wanted.entry.sizeBytes;
  const folder =
    wanted.form === 'root' ? wanted.folder : required(wanted.entry.folder, 'a folder has a node');
  let bytes = 0;
  for await (const { entry, relative } of walkFiles(reader, folder)) {
    if (isIncluded(relative, entry.type === 'directory')) bytes += entry.sizeBytes;
  }
  return bytes;
}
