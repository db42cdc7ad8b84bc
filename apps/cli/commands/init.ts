/** `coffer init`, and the embedded repository that `coffer backup` makes on first use. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CofferError, isCofferError } from '@coffer/base';
import {
  checkPassphrase,
  generateRecoveryKey,
  initRepository,
  initWithKeysFrom,
} from '@coffer/repository';
import { readConfig } from '@coffer/repository/config.ts';
import { clock, openRepositoryAt, openStore, random } from '../compose.ts';
import { printLine, printResult } from '../output.ts';
import { givenPassphrase } from '../passphrase.ts';
import {
  chooseRepository,
  embeddedPassphraseFile,
  embeddedRepository,
  type GlobalOptions,
} from '../settings.ts';

export interface InitCommandOptions extends GlobalOptions {
  readonly recoveryKeyFile?: string;
  readonly keysFrom?: string;
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
        ? await initEmbedded()
        : await initNew(choice.location, givenPassphrase(options), options.recoveryKeyFile);
  printResult(options, report, () => printReport(report));
}

/** Makes the embedded repository when there is none; tells about it on stderr. */
export async function ensureEmbeddedRepository(options: GlobalOptions): Promise<void> {
  if (!chooseRepository(options).isEmbedded || (await exists(embeddedRepository()))) return;
  const report = await initEmbedded();
  // Even with --quiet: it is shown once, and is worth more than silence.
  process.stderr.write(`${describe(report).join('\n')}\n\n`);
}

async function initEmbedded(): Promise<InitReport> {
  const passphraseFile = embeddedPassphraseFile();
  if (!existsSync(passphraseFile)) {
    mkdirSync(dirname(passphraseFile), { recursive: true, mode: 0o700 });
    const passphrase = random.bytes(24).toString('base64url');
    writeFileSync(passphraseFile, `${passphrase}\n`, { mode: 0o600, flag: 'wx' });
  }
  const passphrase = givenPassphrase({ passphraseFile });
  return { ...(await initNew(embeddedRepository(), passphrase, undefined)), passphraseFile };
}

async function initNew(
  location: string,
  passphrase: string | undefined,
  recoveryKeyFile: string | undefined,
): Promise<InitReport> {
  if (passphrase === undefined) throw new CofferError('passphrase-missing', { location });
  checkPassphrase(passphrase);
  const recoveryKey = generateRecoveryKey(random);
  if (recoveryKeyFile !== undefined) writeSecret(recoveryKeyFile, recoveryKey);
  const store = await openStore(location, { create: true });
  try {
    const config = await initRepository({ store, clock, random, passphrase, recoveryKey });
    const repository = config.repositoryId;
    return recoveryKeyFile === undefined
      ? { repository, location, recoveryKey }
      : { repository, location, recoveryKeyFile };
  } finally {
    await store.close();
  }
}

async function initFrom(source: string, location: string): Promise<InitReport> {
  const repository = await openRepositoryAt(source);
  try {
    const store = await openStore(location, { create: true });
    try {
      const config = await initWithKeysFrom(repository, { store, clock, random });
      return { repository: config.repositoryId, location };
    } finally {
      await store.close();
    }
  } finally {
    await repository.close();
  }
}

async function exists(location: string): Promise<boolean> {
  try {
    const store = await openStore(location);
    try {
      await readConfig(store);
      return true;
    } finally {
      await store.close();
    }
  } catch (error) {
    if (isCofferError(error, 'repository-not-found')) return false;
    throw error;
  }
}

function writeSecret(file: string, secret: string): void {
  try {
    writeFileSync(file, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    throw new CofferError('target-unwritable', { path: file, reason: String(error) }, error);
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
