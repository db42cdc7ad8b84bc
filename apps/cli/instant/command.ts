/** How this program calls itself. */
import { fileURLToPath } from 'node:url';

/** A command line that runs a command of Coffer on the same runtime, with the same settings of it. */
export function cofferCommand(...words: readonly string[]): string[] {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url));
  return [process.execPath, ...process.execArgv, main, ...words];
}
