/** Where the passphrase comes from. */
import { existsSync, readFileSync } from 'node:fs';
import { CofferError, isCofferError } from '@coffer/base/errors.ts';
import { askHidden, askNewSecret, canAsk } from './prompt.ts';
import { keptPassphrase, secretOf } from './secrets.ts';
import { chooseRepository, embeddedPassphraseFile, type GlobalOptions } from './settings.ts';

/** The passphrase (or recovery key) that was given; undefined when none was. */
export function givenPassphrase(options: GlobalOptions): string | undefined {
  const kept = keptPassphrase();
  if (kept !== undefined) return kept;
  const file = options.passphraseFile ?? process.env['COFFER_PASSPHRASE_FILE'];
  if (file !== undefined && file !== '') return readPassphrase(file);
  const value = secretOf('COFFER_PASSPHRASE');
  if (value !== undefined) return value;
  const isEmbedded = chooseRepository(options).isEmbedded;
  return isEmbedded && existsSync(embeddedPassphraseFile())
    ? readPassphrase(embeddedPassphraseFile())
    : undefined;
}

/** Asks for it on a terminal. Fails with `passphrase-missing`. */
export async function requiredPassphrase(options: GlobalOptions): Promise<string> {
  const passphrase = givenPassphrase(options);
  if (passphrase !== undefined) return passphrase;
  const repository = chooseRepository(options).location;
  if (options.writerKeyFile !== undefined) {
    const reason = 'the key of a writer makes points, and reads none';
    throw new CofferError('passphrase-missing', { repository, reason });
  }
  if (canAsk()) return await askHidden(`Passphrase or recovery key of ${repository}`);
  throw new CofferError('passphrase-missing', { repository });
}

/** A passphrase that is to open a repository from now on. Fails with `passphrase-missing`. */
export async function newPassphrase(file: string | undefined): Promise<string> {
  if (file !== undefined) return readPassphrase(file);
  const value = secretOf('COFFER_NEW_PASSPHRASE');
  if (value !== undefined) return value;
  if (canAsk()) return await askNewSecret('New passphrase');
  throw new CofferError('passphrase-missing', {
    needed: 'a new passphrase: --new-passphrase-file or COFFER_NEW_PASSPHRASE',
  });
}

/** Of the repository that is copied to; undefined when it is that of the other one. */
export function passphraseOfTarget(file: string | undefined): string | undefined {
  if (file !== undefined) return readPassphrase(file);
  return secretOf('COFFER_TO_PASSPHRASE');
}

export interface VolumePassphraseOptions {
  readonly volumePassphraseFile?: string;
}

/** Of encrypted volumes inside of disks; undefined when none was given. */
export function volumePassphrase({
  volumePassphraseFile,
}: VolumePassphraseOptions): Buffer | undefined {
  if (volumePassphraseFile === undefined) return undefined;
  return Buffer.from(readPassphrase(volumePassphraseFile));
}

/** Runs the task with the passphrase that was given; on a terminal it asks for one that is needed. */
export async function unlockingVolume<T>(
  options: VolumePassphraseOptions,
  task: (passphrase: Buffer | undefined) => Promise<T>,
): Promise<T> {
  const given = volumePassphrase(options);
  try {
    return await task(given);
  } catch (error) {
    if (given || !isCofferError(error, 'volume-locked') || !canAsk()) throw error;
  }
  return await task(Buffer.from(await askHidden('Passphrase of the encrypted volume')));
}

function readPassphrase(file: string): string {
  try {
    // An editor ends the line; that is not part of the passphrase.
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    throw new CofferError('passphrase-missing', { file, reason: 'it cannot be read' }, error);
  }
}
