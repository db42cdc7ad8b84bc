/** `coffer restore POINT --as NAME`, `--original`, `--disks`: a machine of a point. */
import type { Finding } from '@coffer/base';
import { restoreAsNew, type VmRestoreResult } from '@coffer/flows/machine/restore-as-new.ts';
import { restoreVmDisks } from '@coffer/flows/machine/restore-disks.ts';
import {
  type InPlacePreview,
  previewInPlace,
  restoreInPlace,
} from '@coffer/flows/machine/restore-in-place.ts';
import type { UndoRecord } from '@coffer/flows/machine/undo-record.ts';
import type { Afterwards, RestoreRequest, RestoreRequestOf } from '@coffer/flows/request.ts';
import type { RecoveryPoint } from '@coffer/repository';
import { openVmHost } from '../libvirt/compose.ts';
import { commandRun } from '../compose.ts';
import { describeFinding } from '../findings.ts';
import { quoteWord } from '../libvirt/vm-name.ts';
import { formatBytes, formatDuration, printLine, printOutcome, printResult } from '../output.ts';
import { printable, shownPath } from '../printable.ts';
import { withBar } from '../progress.ts';
import { confirm, type ConfirmOptions } from '../prompt.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';
import { undoRecords } from '../undo-records.ts';

type Options = GlobalOptions & ConfirmOptions;

export async function runRestoreMachine(
  request: Exclude<RestoreRequest, { kind: 'path' | 'machine-instant' }>,
  options: Options,
): Promise<void> {
  switch (request.kind) {
    case 'machine-as-new':
      await runRestoreAsNew(request, options);
      return;
    case 'machine-in-place':
      await runRestoreInPlace(request, options);
      return;
    case 'disks':
      await runRestoreDisks(request, options);
  }
}

async function runRestoreAsNew(
  request: RestoreRequestOf<'machine-as-new'>,
  options: Options,
): Promise<void> {
  await using host = await openVmHost(request.connect, request.networks);
  const result = await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, request.point);
    return await withBar(options, (run) =>
      restoreAsNew(run, { ...request, repository, point, host }),
    );
  });
  printOutcome(options, result, () => printMachine(result, request.afterwards));
}

async function runRestoreInPlace(
  request: RestoreRequestOf<'machine-in-place'>,
  options: Options,
): Promise<void> {
  await using host = await openVmHost(request.connect);
  const records = undoRecords();
  const result = await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, request.point);
    const inPlace = { ...request, repository, point, host, records };
    await confirmInPlace(options, point, await previewInPlace(commandRun, inPlace));
    return await withBar(options, (run) => restoreInPlace(run, inPlace));
  });
  printOutcome(options, result, () => {
    printMachine(result, request.afterwards);
    if (result.isFinal) printLine('It was changed in place, and runs: its old state is not kept');
    const record = records.read(result.uuid);
    if (record) printWaysBack(record, result.name, request.afterwards !== 'leave-off');
  });
}

async function confirmInPlace(
  options: Options,
  { takenAt }: RecoveryPoint,
  { vm, isGone, willStop, cannotBeUndone, findings }: InPlacePreview,
): Promise<void> {
  const taken = new Date(takenAt).toISOString();
  if (isGone) {
    await confirm(options, `${vm} is gone. Define it again with the disks of ${taken}?`);
    return;
  }
  warn(options, findings);
  const stops = willStop ? ', which is stopped,' : '';
  const warning = cannotBeUndone
    ? ' It is changed in place: nothing can be undone once it runs.'
    : '';
  await confirm(options, `Replace the disks of ${vm}${stops} by those of ${taken}?${warning}`);
}

/** Before it is done, and also to who has said yes to whatever is asked. */
function warn(options: Options, findings: readonly Finding[]): void {
  if (options.json) return;
  for (const finding of findings.filter(({ code }) => code === 'changed-in-place')) {
    const said = printable(describeFinding(finding));
    process.stderr.write(`${shownPath(finding.subject.name)}: ${said}\n`);
  }
}

/** All disks of a machine, or those that are named, as images in a folder. */
async function runRestoreDisks(
  request: RestoreRequestOf<'disks'>,
  options: Options,
): Promise<void> {
  const results = await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, request.point);
    return await withBar(options, (run) => restoreVmDisks(run, { ...request, repository, point }));
  });
  printResult(options, results, () => {
    for (const { target, bytesWritten } of results) {
      printLine(`${target}: wrote ${formatBytes(bytesWritten)}`);
    }
  });
}

const SAID: Readonly<Record<Afterwards, string>> = {
  'leave-off': '',
  start: ', started',
  'go-on': ', goes on',
};

function printMachine(result: VmRestoreResult, afterwards: Afterwards): void {
  const { name, uuid, bytesWritten, bytesKept, durationMs } = result;
  printLine(`Restored machine ${name} (${uuid}) in ${formatDuration(durationMs)}`);
  const kept = bytesKept > 0 ? `, kept ${formatBytes(bytesKept)}` : '';
  printLine(`wrote ${formatBytes(bytesWritten)}${kept}${SAID[afterwards]}`);
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
