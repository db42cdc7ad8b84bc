/** `coffer gc`. */
import { collectGarbage, type GcResult } from '@coffer/repository';
import { formatBytes, printLine, printResult } from '../output.ts';
import { interruptSignal } from '../run.ts';
import { withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface GcCommandOptions extends GlobalOptions {
  readonly dryRun?: boolean;
}

/** It needs no key: who only stores the repository can collect its garbage. */
export async function runGc(options: GcCommandOptions): Promise<void> {
  const result = await withRepository(options, (repository) =>
    collectGarbage({ repository, dryRun: options.dryRun, signal: interruptSignal }),
  );
  printResult(options, result, () => printLine(describe(result)));
}

function describe(result: GcResult): string {
  switch (result.outcome) {
    case 'planned': {
      const { remove, repack, bytesFreed, bytesMoved } = result.plan;
      const packs = `${remove.length} packs removed, ${repack.length} written anew`;
      return `Would free ${formatBytes(bytesFreed)} (${packs}, ${formatBytes(bytesMoved)} moved)`;
    }
    case 'nothing-to-do':
      return 'There is nothing to free';
    case 'waiting':
      return `Waits for ${result.sessions} running backups: run it again when they have ended`;
    case 'done':
      return `Freed ${formatBytes(result.bytesFreed)} (${result.packsRemoved} packs removed)`;
  }
}
