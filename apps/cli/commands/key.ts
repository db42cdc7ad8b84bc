/** `coffer key`: the slots that open a repository. */
import { type Finding, findingOf } from '@coffer/base';
import {
  addPassphrase,
  type KeySlot,
  readKeySlots,
  removeKeySlot,
  type RotatedKey,
  rotateRecoveryKey,
} from '@coffer/repository';
import {
  formatTime,
  printJson,
  printLine,
  printResult,
  printTable,
  reportFindings,
} from '../output.ts';
import { newPassphrase, requiredPassphrase } from '../passphrase.ts';
import { printable } from '../printable.ts';
import { recoveryKeyKeeper } from '../secret-file.ts';
import { withRepository, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';
import { writeWriterKey } from '../writer-key.ts';

export interface KeyAddOptions extends GlobalOptions {
  readonly newPassphraseFile?: string;
  readonly label: string;
}

export interface KeyRecoveryOptions extends GlobalOptions {
  readonly recoveryKeyFile?: string;
}

export async function runKeyList(options: GlobalOptions): Promise<void> {
  const damaged: Finding[] = [];
  const slots = await withRepository(options, (repository) =>
    readKeySlots(repository, (error, name) =>
      damaged.push(findingOf(error, { kind: 'object', name })),
    ),
  );
  if (options.json) printResult(options, slots.map(toDocument), () => {});
  else {
    await printTable(
      ['SLOT', 'KIND', 'MADE', 'LABEL'],
      slots.map(({ slot, kind, createdAt, label }) => [
        slot,
        kind,
        formatTime(createdAt),
        printable(label),
      ]),
    );
  }
  reportFindings(options, damaged);
}

export async function runKeyAdd(options: KeyAddOptions): Promise<void> {
  const { newPassphraseFile, label } = options;
  await withUnlocked(options, async (repository) => {
    const passphrase = await newPassphrase(newPassphraseFile);
    const slot = await addPassphrase(repository, { passphrase, label });
    printResult(options, toDocument(slot), () => printLine(`Added key slot ${slot.slot}`));
  });
}

export async function runKeyRemove(name: string, options: GlobalOptions): Promise<void> {
  await withRepository(options, async (repository) => {
    const removed = await removeKeySlot(repository, name, await requiredPassphrase(options));
    printResult(options, { removed: [removed] }, () => printLine(`Removed key slot ${removed}`));
  });
}

export async function runKeyRecovery(options: KeyRecoveryOptions): Promise<void> {
  const { recoveryKeyFile: file, json } = options;
  await withUnlocked(options, async (repository) => {
    const { recoveryKey, slot, earlier } = await rotateRecoveryKey(repository, {
      ...recoveryKeyKeeper(file),
      // Even with --quiet: it is shown once.
      opens: (rotated) => {
        if (!json) printRecovery(rotated, file);
      },
    });
    const shown = file === undefined ? { recoveryKey } : { recoveryKeyFile: file };
    if (json) printJson({ ...toDocument(slot), ...shown, removed: earlier });
  });
}

export interface KeyWriterOptions extends GlobalOptions {
  readonly to: string;
}

/** For a host that makes points, and must not be able to read any. */
export async function runKeyWriter(options: KeyWriterOptions): Promise<void> {
  const { to } = options;
  await withUnlocked(options, async (repository) => writeWriterKey(to, repository.keys));
  printResult(options, { writerKeyFile: to }, () => {
    printLine(
      `The key of a writer is in ${to}: it makes points of this key domain, and reads none`,
    );
    printLine(`Use it with --writer-key-file, or COFFER_WRITER_KEY_FILE`);
  });
}

function toDocument({ slot, kind, label, createdAt }: KeySlot): {
  slot: string;
  kind: KeySlot['kind'];
  label: string;
  createdAt: string;
} {
  return { slot, kind, label, createdAt: new Date(createdAt).toISOString() };
}

function printRecovery({ recoveryKey, earlier }: RotatedKey, file: string | undefined): void {
  if (file === undefined) {
    printLine('The new recovery key is shown this once. Print it, and keep it elsewhere:');
    printLine();
    printLine(`    ${recoveryKey}`);
    printLine();
  } else {
    printLine(`The new recovery key is kept in ${file}`);
  }
  if (earlier.length > 0) printLine('Earlier recovery keys do not open the repository any more.');
}
