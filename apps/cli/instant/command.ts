/** How this program calls itself. */
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A command line that runs a command of Coffer on the same runtime, with the same settings of it. */
export function cofferCommand(...words: readonly string[]): string[] {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url));
  return [process.execPath, ...process.execArgv, main, ...words];
}

/** Through its input, since its arguments and its environment can be read by others. */
export function giveSecret({ stdin }: ChildProcess, secret: string): void {
  // A process that has ended meanwhile needs none.
  stdin?.on('error', () => {});
  stdin?.end(secret);
}
