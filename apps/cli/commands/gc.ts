/** `coffer gc`. */
import { collectGarbage, type GcResult, purgeablePoints } from '@coffer/repository';
import { formatBytes, printLine, printResult } from '../output.ts';
import { withBar } from '../progress.ts';
import { withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface GcCommandOptions extends GlobalOptions {
  readonly dryRun?: boolean;
}

/** It needs no key: who only stores the repository can collect its garbage. */
export async function runGc(options: GcCommandOptions): Promise<void> {
  const { dryRun = false } = options;
  const { purged, ...result } = await withRepository(options, async (repository) => {
    const purged = await purgeablePoints(repository);
    for (const point of dryRun ? [] : purged) await repository.removePoint(point);
    const collected = await withBar(options, (run) =>
      collectGarbage({ repository: repository.during(run), dryRun }),
    );
    return { ...collected, purged: purged.map(({ id }) => id) };
  });
  printResult(options, { ...result, pointsPurged: purged }, () => {
    const would = dryRun ? 'Would remove' : 'Removed';
    if (purged.length > 0) printLine(`${would} ${purged.length} points that were kept until now`);
    printLine(describe(result));
  });
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
