/** `coffer restore POINT --as NAME`, `--original`, `--disks`: a machine of a point. */
import { tmpdir } from 'node:os';
import { dirname, resolve } from 'node:path';
import { CofferError, type Finding } from '@coffer/base';
import { restoreVmCopy, type VmRestoreResult } from '@coffer/flows/machine/restore-as-new.ts';
import { restoreVmDisks } from '@coffer/flows/machine/restore-disks.ts';
import { goOnWithMemory, memoryOf } from '@coffer/flows/machine/memory.ts';
import { originalPlanOf, restoreVmOriginal } from '@coffer/flows/machine/restore-in-place.ts';
import { vmOf } from '@coffer/flows/machine/machine-point.ts';
import { acceptStarted } from '@coffer/flows/machine/undo.ts';
import type { UndoRecord } from '@coffer/flows/machine/undo-record.ts';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import { describeFinding } from '../findings.ts';
import { parseImageFormat } from '../image-choice.ts';
import { newUuid, openVmHost } from '../libvirt/compose.ts';
import { quoteWord } from '../libvirt/vm-name.ts';
import { formatBytes, formatDuration, printLine, printOutcome, printResult } from '../output.ts';
import { splitPointPath } from '../point-path.ts';
import { printable, shownPath } from '../printable.ts';
import { withBar } from '../progress.ts';
import { confirm } from '../prompt.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import { undoRecords } from '../undo-records.ts';
import type { RestoreCommandOptions } from './restore.ts';

/** What the restores of a machine have in common. */
interface VmRun {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
}

export async function runRestoreVm(source: string, options: RestoreCommandOptions): Promise<void> {
  const { as: name, original = false } = options;
  if ((name !== undefined) === original) {
    throw new CofferError('usage', { reason: 'say either --as NAME or --original' });
  }
  const result = await withPointOfVm(source, options, async (run) => {
    if (options.resume) refuseResume(run, options);
    const restored =
      name === undefined
        ? await restoreOriginal(run, options)
        : await restoreCopy(run, name, options);
    if (options.start) await run.host.start(restored.uuid);
    if (options.resume) await goOn(run, restored.uuid, options);
    const isFinal = original && startsAgain(options) && acceptStarted(undoRecords(), restored.uuid);
    return { ...restored, isFinal };
  });
  printOutcome(options, result, () => printRestored(result, options));
}

function startsAgain({ start = false, resume = false }: RestoreCommandOptions): boolean {
  return start || resume;
}

/** The memory knows who the machine is. Fails with `usage`, and with `memory-missing`. */
function refuseResume(run: VmRun, { as, keepIdentity, start }: RestoreCommandOptions): void {
  const option = '--resume';
  if (start) throw new CofferError('usage', { option, reason: 'say either --start or --resume' });
  memoryOf(run);
  const { name } = vmOf(run.repository, run.point);
  if (as === undefined || (as === name && keepIdentity)) return;
  const reason = `a machine that goes on is the same one: say --as ${name} --keep-identity`;
  throw new CofferError('usage', { option, reason });
}

/** Its memory lies beside its first disk until it has read it. */
async function goOn(restored: VmRun, uuid: string, options: RestoreCommandOptions): Promise<void> {
  const [disk] = [...((await restored.host.find(uuid))?.disks.values() ?? [])];
  const folder = disk ? dirname(disk.path) : tmpdir();
  await withBar(options, (run) => goOnWithMemory(run, { ...restored, uuid, folder }));
}

async function withPointOfVm<T>(
  source: string,
  options: RestoreCommandOptions,
  use: (run: VmRun) => Promise<T>,
): Promise<T> {
  const { name: pointName } = splitPointPath(source);
  await using vmHost = await openVmHost(options.connect, networksOf(options));
  return await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, pointName);
    return await use({ repository, point, host: vmHost.host });
  });
}

async function restoreCopy(
  restored: VmRun,
  name: string,
  options: RestoreCommandOptions,
): Promise<VmRestoreResult> {
  const { pool, keepIdentity } = options;
  const folder = await folderOf(restored.host, options);
  const uuid = keepIdentity ? undefined : newUuid();
  const result = await withBar(options, (run) =>
    restoreVmCopy(run, { ...restored, name, uuid, folder, format: 'qcow2' }),
  );
  if (pool !== undefined) await restored.host.refreshPool(pool);
  return result;
}

/** Fails with `usage` unless there is one place, and with `target-unfit` for a pool without a folder. */
export async function folderOf(
  host: VmHost,
  { folder, pool }: Pick<RestoreCommandOptions, 'folder' | 'pool'>,
): Promise<string> {
  if ((folder === undefined) === (pool === undefined)) {
    throw new CofferError('usage', { reason: 'say either --folder PATH or --pool NAME' });
  }
  return pool === undefined ? resolve(folder ?? '') : await host.poolFolder(pool);
}

async function restoreOriginal(
  restored: VmRun,
  options: RestoreCommandOptions,
): Promise<VmRestoreResult> {
  const { delta = false, connect } = options;
  const { name, uuid } = vmOf(restored.repository, restored.point);
  const known = await restored.host.find(uuid);
  const taken = new Date(restored.point.takenAt).toISOString();
  if (known) {
    const stops = known.isOff ? '' : ', which is stopped,';
    const { replacements, findings } = originalPlanOf(restored, known, { delta });
    warn(options, findings);
    const isInPlace = replacements.some(({ kind }) => kind === 'kept');
    const isFinal = startsAgain(options) && isInPlace;
    const warning = isFinal ? ' It is changed in place: nothing can be undone once it runs.' : '';
    const question = `Replace the disks of ${known.name}${stops} by those of ${taken}?${warning}`;
    await confirm(options, question);
  } else {
    await confirm(options, `${name} is gone. Define it again with the disks of ${taken}?`);
  }
  const records = undoRecords();
  return await withBar(options, (run) =>
    restoreVmOriginal(run, { ...restored, connect, delta, records }),
  );
}

/** Before it is done, and also to who has said yes to whatever is asked. */
function warn(options: RestoreCommandOptions, findings: readonly Finding[]): void {
  if (options.json) return;
  for (const finding of findings.filter(({ code }) => code === 'changed-in-place')) {
    const said = printable(describeFinding(finding));
    process.stderr.write(`${shownPath(finding.subject.name)}: ${said}\n`);
  }
}

/** All disks of a machine, or those that are named, as images in a folder. */
export async function runRestoreDisks(
  source: string,
  options: RestoreCommandOptions,
): Promise<void> {
  const { to } = options;
  if (to === undefined) throw new CofferError('usage', { reason: 'say --to FOLDER' });
  const { name } = splitPointPath(source);
  const format = parseImageFormat(options.format) ?? 'raw';
  const results = await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, name);
    return await withBar(options, (run) =>
      restoreVmDisks(run, {
        repository,
        point,
        disks: options.disk,
        folder: resolve(to),
        format,
      }),
    );
  });
  printResult(options, results, () => {
    for (const { target, bytesWritten } of results) {
      printLine(`${target}: wrote ${formatBytes(bytesWritten)}`);
    }
  });
}

function printRestored(
  result: VmRestoreResult & { readonly isFinal: boolean },
  options: RestoreCommandOptions,
): void {
  const { start, resume, original } = options;
  const { name, uuid, bytesWritten, bytesKept, durationMs } = result;
  printLine(`Restored machine ${name} (${uuid}) in ${formatDuration(durationMs)}`);
  const kept = bytesKept > 0 ? `, kept ${formatBytes(bytesKept)}` : '';
  printLine(
    `wrote ${formatBytes(bytesWritten)}${kept}${start ? ', started' : ''}${resume ? ', goes on' : ''}`,
  );
  if (result.isFinal) printLine('It was changed in place, and runs: its old state is not kept');
  const record = original ? undoRecords().read(uuid) : undefined;
  if (record) printWaysBack(record, name, startsAgain(options));
}

function printWaysBack({ replacements }: UndoRecord, name: string, hasStarted: boolean): void {
  const isInPlace = replacements.some(({ kind }) => kind === 'kept');
  const vm = quoteWord(`vm:${name}`);
  if (isInPlace && hasStarted) {
    printLine('\nIt runs, and was changed in place: it cannot be undone as a whole.');
    printLine(`Old images of its other disks are kept until you say: coffer accept ${vm}`);
    return;
  }
  printLine(`\nThe old state is kept until you say: coffer accept ${vm}`);
  const until = isInPlace ? ', until it is started' : '';
  printLine(`To have it back${until}: coffer undo ${vm}`);
}

/** Of `--network OLD=NEW`. Fails with `usage`. */
export function networksOf({
  network,
}: Pick<RestoreCommandOptions, 'network'>): ReadonlyMap<string, string> {
  return new Map(network.map(parseNetwork));
}

/** `OLD=NEW`. Fails with `usage`. */
function parseNetwork(mapping: string): [string, string] {
  const [, from, to] = /^([^=]+)=([^=]+)$/.exec(mapping) ?? [];
  if (from === undefined || to === undefined) {
    throw new CofferError('usage', { network: mapping, expected: 'OLD=NEW' });
  }
  return [from, to];
}
