/** `coffer restore`. */
import { CofferError } from '@coffer/base';
import { type Conflict, CONFLICTS } from '@coffer/flows/restore/conflict.ts';
import { restore, type RestoreResult } from '@coffer/flows/restore/restore.ts';
import { absolutePath } from '../arguments.ts';
import { parseImageFormat } from '../image-choice.ts';
import { formatBytes, formatDuration, printLine, printOutcome } from '../output.ts';
import { unlockingVolume } from '../passphrase.ts';
import { splitPointPath } from '../point-path.ts';
import { withBar } from '../progress.ts';
import type { ConfirmOptions } from '../prompt.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface RestoreCommandOptions extends GlobalOptions, ConfirmOptions {
  readonly to?: string;
  /** Name of a machine that is made of the point. */
  readonly as?: string;
  /** The machine of the point gets its disks back. */
  readonly original?: boolean;
  /** The machine runs at once, on the point. */
  readonly instant?: boolean;
  readonly migrate?: boolean;
  /** All disks of the machine, as images. */
  readonly disks?: boolean;
  readonly disk: readonly string[];
  readonly format?: string;
  readonly folder?: string;
  readonly pool?: string;
  readonly connect: string;
  readonly network: readonly string[];
  readonly keepIdentity?: boolean;
  readonly start?: boolean;
  /** With the memory of the point. */
  readonly resume?: boolean;
  readonly volumePassphraseFile?: string;
  readonly include: readonly string[];
  readonly onConflict?: string;
  readonly delta?: boolean;
  readonly dryRun?: boolean;
  readonly verify?: boolean;
}

export async function runRestore(source: string, options: RestoreCommandOptions): Promise<void> {
  if (isOfMachine(options)) refuseOptionsOfFiles(options);
  if (options.resume && (options.instant || (options.as === undefined && !options.original))) {
    throw new CofferError('usage', { option: '--resume', reason: 'it is for --original and --as' });
  }
  if (options.instant) {
    const { runRestoreInstant } = await import('./restore-instant.ts');
    await runRestoreInstant(source, options);
    return;
  }
  if (options.as !== undefined || options.original) {
    const { runRestoreVm } = await import('./restore-vm.ts');
    await runRestoreVm(source, options);
    return;
  }
  if (options.disks || options.disk.length > 0) {
    const { runRestoreDisks } = await import('./restore-vm.ts');
    await runRestoreDisks(source, options);
    return;
  }
  const { to } = options;
  if (to === undefined) throw new CofferError('usage', { reason: 'say --to PATH' });
  const conflict = chooseConflict(options);
  const format = parseImageFormat(options.format);
  const { name, disk, volume, path } = splitPointPath(source);
  const result = await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, name);
    return await unlockingVolume(options, async (passphrase) => {
      return await withBar(options, (run) =>
        restore(run, {
          repository,
          point,
          disk,
          volume,
          passphrase,
          path,
          target: absolutePath(to),
          image: format && { format, subformat: 'dynamic' },
          conflict,
          include: options.include,
          dryRun: options.dryRun ?? false,
          verify: options.verify ?? false,
        }),
      );
    });
  });
  printOutcome(options, result, () => printSummary(result, options.dryRun ?? false));
}

function isOfMachine(options: RestoreCommandOptions): boolean {
  const { as, original, instant, disks, disk } = options;
  return [as !== undefined, original, instant, disks, disk.length > 0].some(Boolean);
}

/** What a machine cannot be restored with is not passed over in silence. Fails with `usage`. */
function refuseOptionsOfFiles(options: RestoreCommandOptions): void {
  const { dryRun, verify, include, onConflict, delta, original } = options;
  const given = {
    '--dry-run': dryRun,
    '--verify': verify,
    '--include': include.length > 0,
    '--on-conflict': onConflict !== undefined,
    '--delta': delta && !original,
  };
  const wrong = Object.entries(given).find(([, isGiven]) => isGiven);
  if (wrong) throw new CofferError('usage', { option: wrong[0], reason: 'not for machines' });
}

/** Fails with `usage`. */
function chooseConflict({ onConflict, delta }: RestoreCommandOptions): Conflict | undefined {
  if (delta && onConflict !== undefined) {
    throw new CofferError('usage', { reason: '--delta and --on-conflict exclude each other' });
  }
  if (delta) return 'delta';
  if (onConflict === undefined) return undefined;
  const known = CONFLICTS.find((each) => each === onConflict && each !== 'delta');
  if (!known) {
    throw new CofferError('usage', { onConflict, expected: 'overwrite, skip, fail or keep-both' });
  }
  return known;
}

function printSummary(result: RestoreResult, isDryRun: boolean): void {
  const { point, target, bytesWritten } = result;
  if (isDryRun) {
    printLine(`Would restore point ${point} to ${target}: ${formatBytes(bytesWritten)}`);
  } else {
    printRestored('Restored', result);
  }
}

export function printRestored(verb: 'Restored' | 'Exported', result: RestoreResult): void {
  const { point, target, bytesWritten, bytesKept, durationMs, verified } = result;
  printLine(`${verb} point ${point} to ${target} in ${formatDuration(durationMs)}`);
  const kept = bytesKept > 0 ? `, kept ${formatBytes(bytesKept)}` : '';
  printLine(`wrote ${formatBytes(bytesWritten)}${kept}${verified ? ', verified' : ''}`);
}
