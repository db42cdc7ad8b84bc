/** `coffer export`: a disk of a point as an image of any format. */
import { resolve } from 'node:path';
import { restoreImage } from '@coffer/flows/restore/restore.ts';
import { parseImageFormat } from '../image-choice.ts';
import { printOutcome } from '../output.ts';
import { splitPointPath } from '../point-path.ts';
import { withBar } from '../progress.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';
import { printRestored } from './restore.ts';

export interface ExportCommandOptions extends GlobalOptions {
  readonly to: string;
  readonly format?: string;
  readonly subformat: 'fixed' | 'dynamic';
  readonly overwrite?: boolean;
  readonly verify?: boolean;
}

export async function runExport(source: string, options: ExportCommandOptions): Promise<void> {
  const { name, disk } = splitPointPath(source);
  const format = parseImageFormat(options.format);
  const result = await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, name);
    return await withBar(options, (run) =>
      restoreImage(run, {
        repository,
        point,
        disk,
        target: resolve(options.to),
        image: { format, subformat: options.subformat },
        conflict: options.overwrite ? 'overwrite' : undefined,
        dryRun: false,
        verify: options.verify ?? false,
      }),
    );
  });
  printOutcome(options, result, () => printRestored('Exported', result));
}
