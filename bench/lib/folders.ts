// Where the benchmarks keep their inputs and scratch, and the walk over this machine's own files.
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import type { Dirent } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

const SYSTEM_FOLDERS = ['/usr', '/var/lib', '/opt'];

/** The cache folder: COFFER_BENCH_FOLDER, or one in the user's cache, or one in the temporary folder. */
export function benchFolder(): string {
  const home = homedir();
  const cache = existsSync(home) ? join(home, '.cache') : tmpdir();
  const folder = process.env['COFFER_BENCH_FOLDER'] ?? join(cache, 'coffer-bench');
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** The folders whose files fill the inputs: COFFER_BENCH_SOURCES (colon between), or the system's. */
export function sourceFolders(): string[] {
  const named = process.env['COFFER_BENCH_SOURCES']?.split(':').filter(Boolean);
  return (named ?? SYSTEM_FOLDERS).filter((folder) => existsSync(folder));
}

export interface FoundFile {
  path: string;
  entry: Dirent;
}

/** Every entry below a folder in the order of names, a folder before its content. */
export function* walk(folder: string, skip: string): Generator<FoundFile> {
  for (const entry of entriesOf(folder)) {
    const path = join(folder, entry.name);
    if (path === skip) continue;
    yield { path, entry };
    if (entry.isDirectory()) yield* walk(path, skip);
  }
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch {
    return []; // A folder that this user may not read is no part of the input.
  }
}
