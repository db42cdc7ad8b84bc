/** `coffer key`: the slots that open a repository. */
import { rmSync } from 'node:fs';
import { type Finding, findingOf } from '@coffer/base';
import {
  addKeySlot,
  generateRecoveryKey,
  type KeySlot,
  newKeySlot,
  readKeySlots,
  removeKeySlot,
  type Repository,
  type UnlockedRepository,
} from '@coffer/repository';
import { refuseAppendOnly } from '@coffer/storage/object-store.ts';
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
import { random } from '../compose.ts';
import { writeSecretFile } from '../secret-file.ts';
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
  await withUnlocked(options, async (repository) => {
    const secret = await newPassphrase(options.newPassphraseFile);
    const slot = await makeSlot(repository, { kind: 'passphrase', secret, label: options.label });
    await addKeySlot(repository.store, slot);
    printResult(options, toDocument(slot), () => printLine(`Added key slot ${slot.slot}`));
  });
}

export async function runKeyRemove(name: string, options: GlobalOptions): Promise<void> {
  await withRepository(options, async (repository) => {
    const before = await readKeySlots(repository, ignoreDamaged);
    await removeKeySlot(repository, name, await requiredPassphrase(options));
    const removed = before.filter(({ slot }) => slot.startsWith(name)).map(({ slot }) => slot);
    printResult(options, { removed }, () => printLine(`Removed key slot ${removed.join(', ')}`));
  });
}

/** The new key opens the repository before the earlier ones do not any more. */
export async function runKeyRecovery(options: KeyRecoveryOptions): Promise<void> {
  const { recoveryKeyFile } = options;
  await withUnlocked(options, async (repository) => {
    refuseAppendOnly(repository.store);
    const slots = await readKeySlots(repository, ignoreDamaged);
    const earlier = slots.filter(({ kind }) => kind === 'recovery');
    const recoveryKey = generateRecoveryKey(random);
    const slot = await makeSlot(repository, {
      kind: 'recovery',
      secret: recoveryKey,
      label: 'printed',
    });
    await writeWithFile(repository, slot, { recoveryKey, recoveryKeyFile });
    // Shown first, even with --quiet: it may be the only key that is left.
    if (!options.json) printRecovery(recoveryKey, recoveryKeyFile, earlier.length);
    for (const each of earlier) await removeKeySlot(repository, each.slot, recoveryKey);
    const removed = earlier.map((each) => each.slot);
    const shown = recoveryKeyFile === undefined ? { recoveryKey } : { recoveryKeyFile };
    if (options.json) printJson({ ...toDocument(slot), ...shown, removed });
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

/** A damaged slot opens nothing; `coffer key list` tells of it, and a repair drops it. */
function ignoreDamaged(): void {}

async function makeSlot(
  { allKeys: keys, run }: UnlockedRepository,
  what: Pick<Parameters<typeof newKeySlot>[0], 'kind' | 'secret' | 'label'>,
): Promise<KeySlot> {
  return await newKeySlot({ ...what, keys, createdAt: run.clock.now() });
}

async function writeWithFile(
  { store }: Repository,
  slot: KeySlot,
  key: { readonly recoveryKey: string; readonly recoveryKeyFile: string | undefined },
): Promise<void> {
  const { recoveryKey, recoveryKeyFile } = key;
  if (recoveryKeyFile !== undefined) writeSecretFile(recoveryKeyFile, recoveryKey);
  try {
    await addKeySlot(store, slot);
  } catch (error) {
    // A key that opens nothing is not left behind.
    if (recoveryKeyFile !== undefined) rmSync(recoveryKeyFile, { force: true });
    throw error;
  }
}

function toDocument({ slot, kind, label, createdAt }: KeySlot): {
  slot: string;
  kind: KeySlot['kind'];
  label: string;
  createdAt: string;
} {
  return { slot, kind, label, createdAt: new Date(createdAt).toISOString() };
}

function printRecovery(key: string, file: string | undefined, removed: number): void {
  if (file === undefined) {
    printLine('The new recovery key is shown this once. Print it, and keep it elsewhere:');
    printLine();
    printLine(`    ${key}`);
    printLine();
  } else {
    printLine(`The new recovery key is kept in ${file}`);
  }
  if (removed > 0) printLine('Earlier recovery keys do not open the repository any more.');
}
