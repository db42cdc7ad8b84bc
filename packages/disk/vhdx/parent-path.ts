/** Paths of parents, as Windows writes them, on a system of folders and slashes. */
import { basename, dirname, join, resolve } from 'node:path';
import type { ParentLocator } from './parent-locator-codec.ts';

/**
 * Where the parent may be, the likeliest place first: at its relative path, beside the child, at its
 * absolute path without the drive. Volumes of Windows (`volume_path`) have no place here.
 */
export function parentCandidates(childPath: string, locator: ParentLocator): string[] {
  const folder = dirname(childPath);
  const paths = [locator.relativePath, locator.absolutePath].map(
    (path) => path?.replaceAll('\\', '/') ?? '',
  );
  const [relativePath = '', absolutePath = ''] = paths;
  const names = paths.map((path) => basename(path)).filter((name) => name !== '');
  return [
    ...new Set([
      ...(relativePath === '' ? [] : [resolve(folder, withoutDrive(relativePath))]),
      ...names.map((name) => join(folder, name)),
      ...(absolutePath === '' ? [] : [resolve('/', withoutDrive(absolutePath))]),
    ]),
  ];
}

/** `//?/D:/folder/name` is `/folder/name`. */
function withoutDrive(path: string): string {
  return path.replace(/^\/\/\?\//, '/').replace(/^\/?[A-Za-z]:\//, '/');
}
