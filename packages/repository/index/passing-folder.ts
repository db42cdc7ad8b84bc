/** Folders for what lasts as long as the process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The second one is in memory, for where the first is full. */
export const PASSING_PARENTS = [tmpdir(), '/dev/shm'] as const;

const made: string[] = [];
process.on('exit', () => {
  for (const folder of made) {
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // The system removes it some day, as all that is left in such folders.
    }
  }
});

/** Makes one. Fails as the file system does. */
export function passingFolderIn(parent: string): string {
  const folder = mkdtempSync(join(parent, 'coffer-cache-'));
  made.push(folder);
  return folder;
}
