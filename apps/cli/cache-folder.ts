/** Where the caches of repositories lie, and what is done where that folder cannot be used. */
import { join } from 'node:path';
import { isOnNetworkFileSystem } from '@coffer/base/network-file-system.ts';
import { systemErrorCode } from '@coffer/base/errors.ts';
import { makePrivate } from './private-folder.ts';
import { cacheFolder } from './settings.ts';

export type CacheFolder =
  | { readonly path: string }
  | { readonly path: undefined; readonly reason: string };

/**
 * The user's cache folder, made when it is not there. Where homes are shared between machines, it is
 * one of this machine, since the memory of one is not that of another.
 */
export function usableCacheFolder(): CacheFolder {
  try {
    const path = cacheFolder();
    makePrivate(path);
    if (!isOnNetworkFileSystem(path)) return { path };
    const local = `/var/tmp/coffer-cache-${process.geteuid!()}`;
    makePrivate(local);
    return { path: local };
  } catch (error) {
    // No home, no permission, a file in its place, or a folder of somebody else.
    const reason = error instanceof Error ? error.message : String(error);
    return { path: undefined, reason: systemErrorCode(error) ?? reason };
  }
}

/** Of writers without the private key; undefined where nothing can be kept. */
export function notebooksFolder(): string | undefined {
  const { path } = usableCacheFolder();
  return path && join(path, 'notebooks');
}

/** Says that the cache lasts as long as this run, which works, and is slower the next time. */
export function tellPassing(folder: string, reason: string): void {
  process.stderr.write(
    `coffer: the cache folder cannot be used (${reason}); this run keeps its cache in ${folder}\n`,
  );
}
