/**
 * The words of the command line without loss. `process.argv` replaces bytes that are not UTF-8, so
 * they are taken from the kernel. Paths on the way through the program are text of `path-text.ts`.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import { CofferError } from '@coffer/base/errors.ts';
import { shownText, textOfBytes } from '@coffer/base/path-text.ts';

/** `argv`, where bytes that belong to no character are as `textOfBytes` says them. */
export function wholeArguments(argv: readonly string[]): string[] {
  if (argv.every((word) => !word.includes('\ufffd'))) return [...argv];
  const words = commandLine().slice(-argv.length);
  return argv.map((word, index) => {
    const bytes = words[index];
    // Node takes some words for itself; ours are the last ones.
    return bytes?.toString('utf8') === word ? textOfBytes(bytes) : word;
  });
}

/** The words as the kernel has them. */
function commandLine(): Buffer[] {
  const bytes = readFileSync('/proc/self/cmdline');
  const words: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(0, start);
    words.push(bytes.subarray(start, end));
    start = end + 1;
  }
  return words;
}

/**
 * The absolute path of what the user named, whatever bytes the working folder has. Fails with `usage`
 * for none: a variable that is not set must not mean the working folder.
 */
export function absolutePath(path: string): string {
  if (path === '') throw new CofferError('usage', { reason: 'a path is empty' });
  return resolve(workingFolder(), path);
}

function workingFolder(): string {
  const folder = process.cwd();
  if (!folder.includes('\ufffd')) return folder;
  return textOfBytes(readlinkSync('/proc/self/cwd', { encoding: 'buffer' }));
}

/** Words of which the bytes count: folders, paths in points, and patterns for names. */
const COMMANDS_OF_PATHS: readonly string[] = ['backup', 'restore', 'ls', 'cat', 'find'];
const OPTIONS_OF_PATHS: readonly string[] = ['to', 'exclude', 'include'];

export interface GivenWords {
  readonly command: string;
  readonly words: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

/**
 * Where such bytes would become others, another file would be meant than the one that was named.
 * Fails with `usage`.
 */
export function refuseLostBytes({ command, words, options }: GivenWords): void {
  const others = COMMANDS_OF_PATHS.includes(command) ? [] : words;
  const values = Object.entries(options)
    .filter(([name]) => !OPTIONS_OF_PATHS.includes(name))
    .flatMap(([, value]) => (Array.isArray(value) ? (value as unknown[]) : [value]));
  for (const word of [...others, ...values]) {
    if (typeof word !== 'string' || word.isWellFormed()) continue;
    const reason = 'only paths of files that are protected or restored may be other than UTF-8';
    throw new CofferError('usage', { word: shownText(word), reason });
  }
}
