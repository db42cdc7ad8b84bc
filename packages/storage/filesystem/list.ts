/** Lists the objects below a folder in the order of their names' bytes, folder by folder. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from './errors.ts';
import { type ObjectInfo, isObjectName } from '../object-store.ts';

/** Files asked for their size at once; more only queue up for the threads of the runtime. */
const STAT_COUNT_MAX = 64;

/** The names of one folder are held in memory, never those of all. */
export async function* listFiles(
  root: string,
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ObjectInfo> {
  const folderName = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  yield* listFolder(root, folderName, prefix, signal);
}

async function* listFolder(
  root: string,
  folderName: string,
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ObjectInfo> {
  const keys = await readKeys(root, folderName, prefix);
  for (let start = 0; start < keys.length;) {
    signal?.throwIfAborted();
    const key = keys[start] ?? '';
    if (key.endsWith('/')) {
      yield* listFolder(root, key, prefix, signal);
      start++;
      continue;
    }
    const names = takeFiles(keys, start);
    const infos = await Promise.all(names.map((name) => readInfo(root, name)));
    for (const info of infos) if (info) yield info;
    start += names.length;
  }
}

/**
 * Sorted full names; those of folders end in a slash. With the slash they sort among the files as
 * the names below them do: `a-b` < `a/x` < `a0`.
 */
async function readKeys(root: string, folderName: string, prefix: string): Promise<string[]> {
  const entries = await readdir(join(root, folderName), { withFileTypes: true }).catch(
    async (error: unknown) => {
      if (!isMissing(error)) throw error;
      // No such folder is no such objects, unless the store itself is gone.
      await stat(root);
      return [];
    },
  );
  return entries
    .filter((entry) => isObjectName(entry.name))
    .map((entry) => key(folderName, entry))
    .filter((key) => key.startsWith(prefix))
    .sort();
}

function key(folderName: string, entry: Dirent): string {
  return `${folderName}${entry.name}${entry.isDirectory() ? '/' : ''}`;
}

/** The next files up to the next folder, at most `STAT_COUNT_MAX`. */
function takeFiles(keys: readonly string[], start: number): readonly string[] {
  const slice = keys.slice(start, start + STAT_COUNT_MAX);
  const folderIndex = slice.findIndex((name) => name.endsWith('/'));
  return folderIndex === -1 ? slice : slice.slice(0, folderIndex);
}

/** Undefined where the object has vanished since its folder was read. */
async function readInfo(root: string, name: string): Promise<ObjectInfo | undefined> {
  try {
    const stats = await stat(join(root, name));
    return stats.isFile()
      ? { name, sizeBytes: stats.size, createdAt: Math.floor(stats.mtimeMs) }
      : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
