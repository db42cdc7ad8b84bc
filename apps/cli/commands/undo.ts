/** `coffer undo` and `coffer accept`: what becomes of a restore over an original. */
import { CofferError, unstoppable } from '@coffer/base';
import type { UndoRecord } from '@coffer/flows/machine/undo-record.ts';
import { acceptOriginal, undoOriginal } from '@coffer/flows/machine/undo.ts';
import { findRecordNamed } from '@coffer/flows/machine/named-record.ts';
import { openVmHost, uuidOfMachine } from '../libvirt/compose.ts';
import { vmNameOf } from '../libvirt/vm-name.ts';
import { formatTime, printLine, printResult } from '../output.ts';
import { withBar } from '../progress.ts';
import { confirm, type ConfirmOptions } from '../prompt.ts';
import { printable } from '../printable.ts';
import type { GlobalOptions } from '../settings.ts';
import { undoRecords } from '../undo-records.ts';

export interface UndoCommandOptions extends GlobalOptions, ConfirmOptions {
  readonly list?: boolean;
}

export async function runUndo(
  name: string | undefined,
  options: UndoCommandOptions,
): Promise<void> {
  if (options.list || name === undefined) {
    printRecords(options);
    return;
  }
  const record = await recordOf(name);
  await using host = await openVmHost(record.connect);
  await confirm(options, `Stop ${record.vm} where it runs, and bring back the state before?`);
  const undoing = { host, records: undoRecords() };
  await withBar(options, (run) => undoOriginal(unstoppable(run), undoing, record));
  const { vm, uuid, point } = record;
  printResult(options, { vm, uuid, point, undone: true }, () => {
    printLine(`${vm} is as it was before point ${point} was restored`);
  });
}

export async function runAccept(name: string, options: GlobalOptions): Promise<void> {
  const record = await recordOf(name);
  acceptOriginal(undoRecords(), record);
  const { vm, uuid, point } = record;
  printResult(options, { vm, uuid, point, accepted: true }, () => {
    printLine(`${vm} stays as point ${point} has it; what was kept of its old state is removed`);
  });
}

/** Fails with `undo-missing`, and as `findRecordNamed` does. */
async function recordOf(name: string): Promise<UndoRecord> {
  const vm = vmNameOf(name);
  const found = await findRecordNamed(undoRecords().list(), vm, uuidOfMachine);
  if (found) return found;
  throw new CofferError('undo-missing', { vm });
}

/** By UUID, which means the same machine whatever it is called by now. */
const WHAT_TO_DO = {
  'under-way': (uuid) => `if no restore runs, it was interrupted: coffer undo vm:${uuid}`,
  done: (uuid) => `coffer accept vm:${uuid}, or coffer undo vm:${uuid}`,
  accepted: (uuid) => `coffer accept vm:${uuid} removes what is left`,
} as const satisfies Record<UndoRecord['state'], (uuid: string) => string>;

function printRecords(options: GlobalOptions): void {
  const records = undoRecords().list();
  const shown = records.map(({ vm, uuid, point, startedAt, state }) => {
    return { vm, uuid, point, restoredAt: new Date(startedAt).toISOString(), state };
  });
  printResult(options, shown, () => {
    for (const { vm, uuid, point, startedAt, state } of records) {
      const restored = `point ${point}, restored ${formatTime(startedAt)}`;
      printLine(`${printable(vm)} (${uuid}): ${restored}, ${state}: ${WHAT_TO_DO[state](uuid)}`);
    }
  });
}
