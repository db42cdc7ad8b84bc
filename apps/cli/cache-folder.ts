/** Where the caches of repositories lie, and what is done where that folder cannot be used. */
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from './settings.ts';

/** The user's cache folder, made when it is not there; undefined when it cannot be written. */
export function usableCacheFolder(): string | undefined {
  try {
    const folder = cacheFolder();
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    return folder;
  } catch {
    // No home, no permission, or a file in its place: all the same to the caller.
    return undefined;
  }
}

/** A folder that is removed when the process ends: it works, and is slower the next time. */
export function passingCacheFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-cache-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  process.stderr.write(
    `coffer: the cache folder cannot be used; this run keeps its cache in ${folder}\n`,
  );
  return folder;
}
