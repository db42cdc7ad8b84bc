/** Which files are protected: exclude patterns in the syntax of gitignore, cache folders, one file system. */
import { closeSync, readSync } from 'node:fs';
import { OPEN_NO_WAIT, OPEN_READ, openAt } from '@coffer/base/folder-calls.ts';
import { textOfBytes } from '@coffer/base/path-text.ts';
import ignore, { type Ignore } from 'ignore';

/** How a folder says that its content can be made again: https://bford.info/cachedir/. */
const CACHE_TAG_NAME = Buffer.from('CACHEDIR.TAG');
const CACHE_TAG_SIGNATURE = Buffer.from('Signature: 8a477f597d28d172789f06886806bc55');

/** A matcher keeps its answer for every path; so it is made anew before they take much memory. */
export const ANSWERS_KEPT_MAX = 10_000;

/** Tells whether the path (relative to the root, without a leading slash) is left out. */
export type IsExcluded = (relativePath: Buffer, isFolder: boolean) => boolean;

export function excludeBy(patterns: readonly string[]): IsExcluded {
  if (patterns.length === 0) return () => false;
  let matcher = matcherOf(patterns);
  let answersKept = 0;
  return (path, isFolder) => {
    if (++answersKept > ANSWERS_KEPT_MAX) {
      matcher = matcherOf(patterns);
      answersKept = 1;
    }
    // A trailing slash tells a folder, for patterns that mean folders only.
    return matcher.ignores(textOfBytes(path) + (isFolder ? '/' : ''));
  };
}

function matcherOf(patterns: readonly string[]): Ignore {
  return ignore({ allowRelativePaths: true, ignorecase: false }).add([...patterns]);
}

/** True for a folder that is tagged as a cache; its tag is protected, the rest of it is not. */
export function isCacheFolder(folder: number, names: readonly Buffer[]): boolean {
  if (!names.some(isCacheTag)) return false;
  const start = Buffer.alloc(CACHE_TAG_SIGNATURE.length);
  try {
    const fd = openAt(folder, CACHE_TAG_NAME, OPEN_READ | OPEN_NO_WAIT);
    try {
      readSync(fd, start, 0, start.length, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    // A tag that cannot be read does not count.
    return false;
  }
  return start.equals(CACHE_TAG_SIGNATURE);
}

export function isCacheTag(name: Buffer): boolean {
  return name.equals(CACHE_TAG_NAME);
}
