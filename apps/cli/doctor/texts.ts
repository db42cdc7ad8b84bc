/** What the health of a host and of a repository means for people, and what they can do. */
import { type ErrorDetails, factsOf } from '@coffer/base/errors.ts';
import type { HostHealthCode } from '@coffer/flows/health/host.ts';
import type { SpaceHealthCode } from '@coffer/flows/health/store-space.ts';
import type { RepositoryHealthCode } from '@coffer/repository';
import { formatBytes, formatDuration } from '../output.ts';

export type HealthCode = HostHealthCode | SpaceHealthCode | RepositoryHealthCode;

interface HealthText {
  readonly message: (details: ErrorDetails) => string;
  readonly help: ((details: ErrorDetails) => string) | undefined;
}

/** A text with the facts that it names in braces. */
function text(message: string, help?: string): HealthText {
  return {
    message: (details) => filled(message, details),
    help: help === undefined ? undefined : (details) => filled(help, details),
  };
}

function filled(template: string, details: ErrorDetails): string {
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = details[name];
    if (typeof value === 'number' && name.endsWith('Bytes')) return formatBytes(value);
    if (typeof value === 'number' && name.endsWith('Ms')) return formatDuration(value);
    return value === undefined ? 'none' : String(value);
  });
}

const INDEX_IN_STEP: HealthText = {
  message: ({ chunks, added }) => {
    const was =
      added === 0 ? 'in step' : `in step now; ${String(added)} index objects were missing`;
    return `${String(chunks)} chunks, ${was}`;
  },
  help: undefined,
};

const SLOTS = '{passphrases} passphrases and {recoveryKeys} recovery keys';
const SPACE = '{freeBytes} of {totalBytes} are free';
const CLOCK = "differs from the store's by {differenceMs} or less";
const FOLDER_HELP = 'Make it a folder that you can write to, or set HOME or the XDG variables.';

export const TEXTS: Readonly<Record<HealthCode, HealthText>> = {
  'runtime-pinned': text('Node {version}, as pinned'),
  'runtime-other': text(
    'Node {version} runs, {pinned} is pinned',
    'Start Coffer with its own launcher, ./coffer, which uses the pinned Node.',
  ),
  'native-code-loads': text('it loads'),
  'native-code-broken': text(
    '{reason}',
    'Remove node_modules and start ./coffer again: it installs what is missing.',
  ),
  'folder-private': text('{folder}, mode {mode}'),
  'folder-open-to-others': text(
    'others can write to {folder}, mode {mode}',
    'Run: chmod go-w {folder}',
  ),
  'folder-unusable': text('{reason}', FOLDER_HELP),
  'folder-unusable-for-cache': text('{reason}', FOLDER_HELP),
  'secret-file-private': text('{file}, mode {mode}'),
  'secret-file-absent': text('there is no {file}'),
  'secret-file-open-to-others': text(
    'others can read {file}, mode {mode}',
    'Run: chmod go= {file}',
  ),
  'secret-file-unreadable': text('{reason}', 'Check its owner and permissions.'),

  'space-ample': text(SPACE),
  'space-scarce': text(SPACE, 'Make space, or remove points and run `coffer gc`.'),
  'space-untold': text('the store does not tell'),

  'config-intact': text('both copies are intact'),
  'config-copy-damaged': {
    message: (details) => `one of its two copies is damaged${factsOf(details)}`,
    help: () => 'Run `coffer repair` soon: it writes the damaged one anew from the other one.',
  },
  'key-slots-intact': text(SLOTS),
  'key-slots-damaged': text(
    `${SLOTS}; damaged: {damaged}`,
    'See what still opens it, run `coffer repair`, then `coffer key add` or `recovery`.',
  ),
  'recovery-key-missing': text(SLOTS, 'Run `coffer key recovery`: a passphrase may get lost.'),
  'secret-opens': text('it opens the repository'),
  'secret-not-given': text(
    'none was given, so it was not tried',
    'Give --passphrase-file, COFFER_PASSPHRASE_FILE or COFFER_PASSPHRASE.',
  ),
  'index-in-step': INDEX_IN_STEP,
  'index-objects-damaged': text(
    '{objects} index objects are damaged',
    'Run `coffer repair --rebuild-index`: packs hold all that the index says.',
  ),
  'clock-in-step': text(CLOCK),
  'clock-differs': text(CLOCK, 'Let both keep time by NTP: points are named by it.'),
  'clock-unseen': text(
    'the store is read-only, so its clock was not seen',
    'Reading works; backup, remove and gc need a store that can be written to.',
  ),
  'sessions-alive': text('{open} open'),
  'sessions-silent': text(
    '{silent} of {open} open ones have given no sign for an hour',
    'They were killed, most likely; `coffer gc` ends them.',
  ),
  'collections-finished': text('{generation} so far, none unfinished'),
  'collection-unfinished': text(
    'number {generation} is not finished',
    'Run `coffer gc`: it goes on where that stopped.',
  ),
};
