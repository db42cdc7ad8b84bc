/** Where the passphrase comes from. */
import { existsSync, readFileSync } from 'node:fs';
import { CofferError } from '@coffer/base/errors.ts';
import { chooseRepository, embeddedPassphraseFile, type GlobalOptions } from './settings.ts';

/** The passphrase (or recovery key) that was given; undefined when none was. */
export function givenPassphrase(options: GlobalOptions): string | undefined {
  const file = options.passphraseFile ?? process.env['COFFER_PASSPHRASE_FILE'];
  if (file !== undefined && file !== '') return readPassphrase(file);
  const value = process.env['COFFER_PASSPHRASE'];
  if (value !== undefined && value !== '') return value;
  const isEmbedded = chooseRepository(options).isEmbedded;
  return isEmbedded && existsSync(embeddedPassphraseFile())
    ? readPassphrase(embeddedPassphraseFile())
    : undefined;
}

/** Fails with `passphrase-missing`. */
export function requiredPassphrase(options: GlobalOptions): string {
  const passphrase = givenPassphrase(options);
  if (passphrase === undefined) {
    throw new CofferError('passphrase-missing', {
      repository: chooseRepository(options).location,
    });
  }
  return passphrase;
}

function readPassphrase(file: string): string {
  try {
    // An editor ends the line; that is not part of the passphrase.
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    throw new CofferError('passphrase-missing', { file, reason: 'it cannot be read' }, error);
  }
}
