/** Where things lie, and what the global options say. */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { CofferError } from '@coffer/base/errors.ts';

export interface GlobalOptions {
  readonly repo?: string;
  readonly passphraseFile?: string;
  /** Keys that make points, and read none. */
  readonly writerKeyFile?: string;
  /** Bytes a second that pass between here and the repository, by the hour. */
  readonly limitRate?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Folders of the user, by the XDG base directory specification: relative paths do not count. */
function userFolder(variable: string, fallback: string): string {
  const value = process.env[variable] ?? '';
  return join(isAbsolute(value) ? value : join(homeFolder(), fallback), 'coffer');
}

/** Fails with `usage` for a user without a home. */
function homeFolder(): string {
  const home = knownHome();
  if (home !== undefined) return home;
  throw new CofferError('usage', {
    reason: 'the user has no home folder: set HOME, or say --repo and a passphrase',
  });
}

function knownHome(): string | undefined {
  try {
    const home = homedir();
    return isAbsolute(home) ? home : undefined;
  } catch {
    // Neither HOME nor the list of users names one.
    return undefined;
  }
}

/** What has to be known later, on this machine: restores that can be undone, machines that run from points. */
export const stateFolder = (): string => userFolder('XDG_STATE_HOME', '.local/state');

export const cacheFolder = (): string => userFolder('XDG_CACHE_HOME', '.cache');

/** The repository that is made when none is named, with its passphrase beside the user's settings. */
export const embeddedRepository = (): string =>
  join(userFolder('XDG_DATA_HOME', '.local/share'), 'repository');
export const configFolder = (): string => userFolder('XDG_CONFIG_HOME', '.config');
export const embeddedPassphraseFile = (): string => join(configFolder(), 'passphrase');

export interface RepositoryChoice {
  readonly location: string;
  /** It is the one that is used when nobody names one. */
  readonly isEmbedded: boolean;
}

export function chooseRepository(options: GlobalOptions): RepositoryChoice {
  const named = options.repo ?? process.env['COFFER_REPO'];
  if (named === undefined || named === '') {
    return { location: embeddedRepository(), isEmbedded: true };
  }
  const location = absoluteLocation(named);
  return { location, isEmbedded: knownHome() !== undefined && location === embeddedRepository() };
}

/** Paths become absolute; URLs stay as they are. */
export function absoluteLocation(location: string): string {
  return /^[a-z][a-z0-9+.-]*:\/\//.test(location) ? location : resolve(location);
}
