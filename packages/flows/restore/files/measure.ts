/** What a restore would write. */
import type { RunContext } from '@coffer/base';
import type { FilesSource } from './files-source.ts';
import { type WalkOptions, walkSource } from './walk-source.ts';

/** Bytes of the files that would be restored. */
export async function measureFiles(
  run: RunContext,
  source: FilesSource,
  options: WalkOptions,
): Promise<number> {
  let bytes = 0;
  await walkSource(run, source, options, ({ entry }) => {
    bytes += entry.sizeBytes;
  });
  return bytes;
}
