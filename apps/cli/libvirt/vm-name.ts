/** How virtual machines are named on the command line. */

const PREFIX = 'vm:';

export function isVmName(path: string): boolean {
  return path.startsWith(PREFIX);
}

/** A name with or without `vm:` before it. */
export function vmNameOf(path: string): string {
  return isVmName(path) ? path.slice(PREFIX.length) : path;
}

/** For a shell, in commands that people are shown. */
export function quoteWord(word: string): string {
  return /^[\w./@:+-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
