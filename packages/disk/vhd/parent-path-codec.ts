/**
 * Paths to the parent of a differencing image, as Windows writes them, and what they are here
 * ("Implementing a Differencing Hard Disk").
 */

/** Longer than any path that can be opened. */
export const PARENT_PATH_BYTES_MAX = 8192;

/** The data of a `W2ru` or `W2ku` locator: UTF-16, little-endian, on all known images. */
export function decodeParentPath(bytes: Buffer): string {
  const text = bytes.subarray(0, bytes.length - (bytes.length % 2)).toString('utf16le');
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

/** A Windows path without drive or server, in the form of this system; undefined with one. */
export function localPathOf(windowsPath: string): string | undefined {
  if (/^[a-z]:/i.test(windowsPath) || windowsPath.startsWith('\\\\')) return undefined;
  return windowsPath.replaceAll('\\', '/');
}

/** The last name in a path of either form; empty when there is none. */
export function lastNameOf(path: string): string {
  const name = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
  return name === '.' || name === '..' ? '' : name;
}
