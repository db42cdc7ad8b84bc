/** Where things lie, and what the global options say. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export interface GlobalOptions {
  readonly repo?: string;
  readonly passphraseFile?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Folders of the user, by the XDG base directory specification. */
function userFolder(variable: string, fallback: string): string {
  const value = process.env[variable];
  return join(value !== undefined && value !== '' ? value : join(homedir(), fallback), 'coffer');
}

export const cacheFolder = (): string => userFolder('XDG_CACHE_HOME', '.cache');

/** The repository that is made when none is named, with its passphrase beside the user's settings. */
export const embeddedRepository = (): string =>
  join(userFolder('XDG_DATA_HOME', '.local/share'), 'repository');
export const embeddedPassphraseFile = (): string =>
  join(userFolder('XDG_CONFIG_HOME', '.config'), 'passphrase');

export interface RepositoryChoice {
  readonly location: string;
  /** Nobody named a repository. */
  readonly isEmbedded: boolean;
}

export function chooseRepository(options: GlobalOptions): RepositoryChoice {
  const named = options.repo ?? process.env['COFFER_REPO'];
  if (named !== undefined && named !== '') return { location: absolute(named), isEmbedded: false };
  return { location: embeddedRepository(), isEmbedded: true };
}

/** Paths become absolute; URLs stay as they are. */
function absolute(location: string): string {
  return /^[a-z][a-z0-9+.-]*:\/\//.test(location) ? location : resolve(location);
}
