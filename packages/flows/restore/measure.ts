/** What a restore would write. */
import type { FilesSource } from './files-source.ts';
import { type WalkOptions, walkSource } from './walk-source.ts';

/** Bytes of the files that would be restored. */
export async function measureFiles(source: FilesSource, options: WalkOptions): Promise<number> {
  let bytes = 0;
  await walkSource(source, options, ({ entry }) => {
    bytes += entry.sizeBytes;
  });
  return bytes;
}
