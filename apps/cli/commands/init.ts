/** `coffer init`, and the embedded repository that `coffer backup` makes on first use. */
import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { CofferError, isCofferError } from '@coffer/base';
import {
  checkPassphrase,
  initWithKeysFrom,
  initWithRecoveryKey,
  type Padding,
  readConfig,
} from '@coffer/repository';
import { clock, openRepositoryAt, random, withStore } from '../compose.ts';
import { printLine, printResult } from '../output.ts';
import { givenPassphrase } from '../passphrase.ts';
import { askNewSecret, canAsk } from '../prompt.ts';
import { recoveryKeyKeeper, writeSecretFile } from '../secret-file.ts';
import {
  chooseRepository,
  embeddedPassphraseFile,
  embeddedRepository,
  type GlobalOptions,
} from '../settings.ts';

export interface InitCommandOptions extends GlobalOptions {
  readonly recoveryKeyFile?: string;
  readonly keysFrom?: string;
  readonly padding?: Padding;
}

interface InitReport {
  readonly repository: string;
  readonly location: string;
  /** Undefined when it was written to a file, or when the keys are those of another repository. */
  readonly recoveryKey?: string | undefined;
  readonly recoveryKeyFile?: string | undefined;
  readonly passphraseFile?: string | undefined;
}

export async function runInit(options: InitCommandOptions): Promise<void> {
  const choice = chooseRepository(options);
  const report =
    options.keysFrom !== undefined
      ? await initFrom(options.keysFrom, choice.location)
      : choice.isEmbedded && givenPassphrase(options) === undefined
        ? await initEmbedded(options)
        : await initNew(choice.location, await firstPassphrase(options), options);
  // Even with --quiet: the recovery key is shown once.
  printResult({ ...options, quiet: options.quiet === true && !report.recoveryKey }, report, () =>
    printReport(report),
  );
}

async function firstPassphrase(options: GlobalOptions): Promise<string | undefined> {
  const given = givenPassphrase(options);
  if (given !== undefined || !canAsk()) return given;
  return await askNewSecret('Passphrase of the new repository (at least 16 characters)');
}

/** Makes the embedded repository when there is none; tells about it on stderr. */
export async function ensureEmbeddedRepository(options: GlobalOptions): Promise<void> {
  if (!chooseRepository(options).isEmbedded || (await exists(embeddedRepository()))) return;
  const report = await initEmbedded();
  // Even with --quiet: it is shown once, and is worth more than silence.
  process.stderr.write(`${describe(report).join('\n')}\n\n`);
}

type NewOptions = Pick<InitCommandOptions, 'recoveryKeyFile' | 'padding'>;

async function initEmbedded(options: NewOptions = {}): Promise<InitReport> {
  const passphraseFile = embeddedPassphraseFile();
  if (!existsSync(passphraseFile)) {
    mkdirSync(dirname(passphraseFile), { recursive: true, mode: 0o700 });
    const passphrase = random.bytes(24).toString('base64url');
    writeSecretFile(passphraseFile, passphrase);
  }
  const passphrase = givenPassphrase({ passphraseFile });
  const report = await initNew(embeddedRepository(), passphrase, options);
  return { ...report, passphraseFile };
}

async function initNew(
  location: string,
  passphrase: string | undefined,
  { recoveryKeyFile, padding }: NewOptions,
): Promise<InitReport> {
  if (passphrase === undefined) throw new CofferError('passphrase-missing', { location });
  checkPassphrase(passphrase);
  return await withStore(location, { create: true }, async (store) => {
    const { config, recoveryKey } = await initWithRecoveryKey(
      { store, clock, random, passphrase, padding },
      recoveryKeyKeeper(recoveryKeyFile),
    );
    const made = { repository: config.repositoryId, location };
    return recoveryKeyFile === undefined ? { ...made, recoveryKey } : { ...made, recoveryKeyFile };
  });
}

async function initFrom(source: string, location: string): Promise<InitReport> {
  const repository = await openRepositoryAt(source);
  try {
    return await withStore(location, { create: true }, async (store) => {
      const config = await initWithKeysFrom(repository, { store, clock, random });
      return { repository: config.repositoryId, location };
    });
  } finally {
    await repository.close();
  }
}

async function exists(location: string): Promise<boolean> {
  try {
    await withStore(location, {}, readConfig);
    return true;
  } catch (error) {
    if (isCofferError(error, 'repository-not-found')) return false;
    throw error;
  }
}

function printReport(report: InitReport): void {
  for (const line of describe(report)) printLine(line);
}

function describe(report: InitReport): string[] {
  const lines = [`Made repository ${report.repository} at ${report.location}`];
  if (report.passphraseFile) lines.push(`Its passphrase is kept in ${report.passphraseFile}`);
  if (report.recoveryKeyFile) lines.push(`Its recovery key is kept in ${report.recoveryKeyFile}`);
  if (report.recoveryKey) {
    lines.push(
      'Its recovery key is shown this once. Print it, or write it down, and keep it elsewhere:',
      '',
      `    ${report.recoveryKey}`,
      '',
      'It opens the repository when the passphrase is lost. Without both, nobody can.',
    );
  }
  return lines;
}
