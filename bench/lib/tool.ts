// What a benchmark asks of each backup program. A tool only says which command to run; nothing
// runs until the command is measured, so all tools are timed by the same code.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from './measure.ts';

export const PASSPHRASE = 'a passphrase for benchmarks only';

export interface Restore {
  command: Command;
  /** Where the restored file or folder will lie. */
  path: string;
}

export interface Tool {
  readonly name: string;
  /** The folder of the repository, for its size. */
  readonly repository: string;
  version(): string;
  init(): Command;
  /** Backs up a disk image, and takes no hint that the file is unchanged. */
  backupDisk(image: string): Command;
  backupFolder(folder: string): Command;
  /** Restores the newest point of what was last backed up into an empty folder. */
  restore(target: string): Restore;
  /** Removes the oldest point without freeing space. */
  removeOldest(): Command;
  collectGarbage(): Command;
  /** What would be collected; undefined when the tool cannot tell. */
  planGarbageCollection(): Command | undefined;
}

/** A repository on a server, in the tool's own notation, and the environment that reaches it. */
export interface Endpoint {
  repository: string;
  env: Record<string, string>;
}

/** A folder for one tool: `repo`, `cache` and the passphrase file lie in it. */
export interface ToolFolder {
  repository: string;
  cache: string;
  passphraseFile: string;
}

export function toolFolder(scratch: string, name: string): ToolFolder {
  const folder = join(scratch, name);
  const cache = join(folder, 'cache');
  const passphraseFile = join(folder, 'passphrase');
  mkdirSync(cache, { recursive: true });
  writeFileSync(passphraseFile, PASSPHRASE, { mode: 0o600 });
  return { repository: join(folder, 'repo'), cache, passphraseFile };
}

export function firstLineOf(argv: string[]): string {
  const [program, ...args] = argv;
  return execFileSync(program!, args, { encoding: 'utf8' }).split('\n')[0]!.trim();
}
