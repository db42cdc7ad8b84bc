/** `coffer restore`. */
import { CofferError } from '@coffer/base';
import { parseRequest, RestoreRequest, type RestoreRequestOf } from '@coffer/flows/request.ts';
import { restore, type RestoreResult } from '@coffer/flows/restore/restore.ts';
import { absolutePath } from '../arguments.ts';
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
  /** Device nodes, set-id bits and capabilities of a volume. */
  readonly withPrivileges?: boolean;
  readonly dryRun?: boolean;
  readonly verify?: boolean;
}

export async function runRestore(source: string, options: RestoreCommandOptions): Promise<void> {
  const request = restoreRequestOf(source, options);
  switch (request.kind) {
    case 'path':
      await runRestorePath(request, options);
      return;
    case 'machine-instant': {
      const { runRestoreInstant } = await import('./restore-instant.ts');
      await runRestoreInstant(request, options);
      return;
    }
    case 'disks':
    case 'machine-as-new':
    case 'machine-in-place': {
      const { runRestoreMachine } = await import('./restore-machine.ts');
      await runRestoreMachine(request, options);
    }
  }
}

/** Fails with `usage`: what is asked for together with something else is not passed over. */
export function restoreRequestOf(source: string, options: RestoreCommandOptions): RestoreRequest {
  if (isOfMachine(options)) refuseOptionsOfFiles(options);
  const { name: point, ...place } = splitPointPath(source);
  const { as, original, instant, disks, disk, resume } = options;
  if (resume && (instant || (as === undefined && !original))) {
    throw new CofferError('usage', { option: '--resume', reason: 'it is for --original and --as' });
  }
  if (instant || as !== undefined || original) {
    return parseRequest(RestoreRequest, { point, ...machineRequest(options) });
  }
  if (disks || disk.length > 0) {
    const { format } = options;
    const folder = absolutePath(required(options.to, 'say --to FOLDER'));
    return parseRequest(RestoreRequest, { kind: 'disks', point, disks: disk, folder, format });
  }
  const { format, include, dryRun, verify, withPrivileges: privileges } = options;
  const target = absolutePath(required(options.to, 'say --to PATH'));
  const conflict = chooseConflict(options);
  const rest = { target, format, conflict, privileges, include, dryRun, verify };
  return parseRequest(RestoreRequest, { kind: 'path', point, ...place, ...rest });
}

function machineRequest(options: RestoreCommandOptions): object {
  const { as: name, original = false, instant, migrate, delta, connect, keepIdentity } = options;
  const networks = Object.fromEntries(options.network.map(parseNetwork));
  if (instant) {
    const reason = '--instant needs --as NAME';
    const machine = { name: required(name, reason), place: placeOf(options), networks, migrate };
    return { kind: 'machine-instant', connect, ...machine };
  }
  if ((name !== undefined) === original) {
    throw new CofferError('usage', { reason: 'say either --as NAME or --original' });
  }
  const afterwards = afterwardsOf(options);
  if (original) return { kind: 'machine-in-place', connect, delta, afterwards };
  const machine = { name, keepsIdentity: keepIdentity, place: placeOf(options), networks };
  return { kind: 'machine-as-new', connect, ...machine, afterwards };
}

function afterwardsOf({ start, resume }: RestoreCommandOptions): string {
  if (start && resume) {
    const reason = 'say either --start or --resume';
    throw new CofferError('usage', { option: '--resume', reason });
  }
  if (resume) return 'go-on';
  return start ? 'start' : 'leave-off';
}

function placeOf({ folder, pool }: RestoreCommandOptions): object {
  if ((folder === undefined) === (pool === undefined)) {
    throw new CofferError('usage', { reason: 'say either --folder PATH or --pool NAME' });
  }
  return folder === undefined ? { pool } : { folder: absolutePath(folder) };
}

/** `OLD=NEW`. */
function parseNetwork(mapping: string): [string, string] {
  const [, from, to] = /^([^=]+)=([^=]+)$/.exec(mapping) ?? [];
  if (from === undefined || to === undefined) {
    throw new CofferError('usage', { network: mapping, expected: 'OLD=NEW' });
  }
  return [from, to];
}

function required(value: string | undefined, reason: string): string {
  if (value === undefined) throw new CofferError('usage', { reason });
  return value;
}

function isOfMachine(options: RestoreCommandOptions): boolean {
  const { as, original, instant, disks, disk } = options;
  return [as !== undefined, original, instant, disks, disk.length > 0].some(Boolean);
}

/** What a machine cannot be restored with is not passed over in silence. */
function refuseOptionsOfFiles(options: RestoreCommandOptions): void {
  const { dryRun, verify, include, onConflict, delta, original, withPrivileges } = options;
  const given = {
    '--dry-run': dryRun,
    '--verify': verify,
    '--include': include.length > 0,
    '--with-privileges': withPrivileges,
    '--on-conflict': onConflict !== undefined,
    '--delta': delta && !original,
  };
  const wrong = Object.entries(given).find(([, isGiven]) => isGiven);
  if (wrong) throw new CofferError('usage', { option: wrong[0], reason: 'not for machines' });
}

function chooseConflict({ onConflict, delta }: RestoreCommandOptions): string | undefined {
  if (delta && onConflict !== undefined) {
    throw new CofferError('usage', { reason: '--delta and --on-conflict exclude each other' });
  }
  return delta ? 'delta' : onConflict;
}

async function runRestorePath(
  request: RestoreRequestOf<'path'>,
  options: RestoreCommandOptions,
): Promise<void> {
  const { format } = request;
  const image = format && { format, subformat: 'dynamic' as const };
  const result = await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, request.point);
    return await unlockingVolume(options, (passphrase) =>
      withBar(options, (run) => restore(run, { ...request, repository, point, passphrase, image })),
    );
  });
  printOutcome(options, result, () => printSummary(result, request.dryRun));
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
