/** `coffer repair`. */
import { repairRepository, type RepairResult } from '@coffer/repository';
import { printDamage, printLine } from '../output.ts';
import { withBar } from '../progress.ts';
import { withKeysIfGiven } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface RepairCommandOptions extends GlobalOptions {
  readonly rebuildIndex?: boolean;
}

export async function runRepair(options: RepairCommandOptions): Promise<void> {
  const result = await withKeysIfGiven(options, async (repository) =>
    withBar(options, (run) =>
      repairRepository({
        repository: repository.during(run),
        rebuildIndex: options.rebuildIndex ?? false,
      }),
    ),
  );
  printDamage(options, result, () => printSummary(result));
}

function printSummary(result: RepairResult): void {
  const { indexRebuilt, packsDropped, chunksSalvaged, chunksLost, pointsDropped } = result;
  if (indexRebuilt) printLine('Made the index anew from the packs');
  printLine(`Packs dropped: ${packsDropped}; chunks kept of them: ${chunksSalvaged}`);
  printLine(`Chunks lost: ${chunksLost}; points dropped: ${pointsDropped.length}`);
  if (result.pointsDamaged.length > 0) {
    printLine(`Points that miss chunks: ${result.pointsDamaged.join(', ')}`);
    printLine('The next backup of their items stores again what it still finds at the source.');
  }
}
