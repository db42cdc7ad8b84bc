// Whether a restored copy is what was backed up.
import { spawnSync } from 'node:child_process';

export function filesEqual(one: string, other: string): boolean {
  return succeeds('cmp', '-s', one, other);
}

/** Compares names, content and links; not the metadata. */
export function foldersEqual(one: string, other: string): boolean {
  return succeeds('diff', '-r', '--no-dereference', '--brief', one, other);
}

function succeeds(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}
