/** What to do when something is wrong with a repository, its points and its keys, and with the store that it is in. */
import type { ErrorCode } from '@coffer/base';
import { type FailureRow, row } from './failure-row.ts';

export const REPOSITORY_FAILURES = {
  'repository-not-found': row(10, 'Check --repo, or create one with `coffer init`.'),
  'repository-exists': row(10, 'Choose another location, or use the one that exists.'),
  'repository-version': row(
    10,
    'Use a Coffer at least as new as the one that made the repository.',
  ),
  'repository-damaged': row(
    20,
    'Run `coffer verify --read-data` to see what is affected, then `coffer repair`.',
  ),
  'object-damaged': row(
    20,
    'Run `coffer verify --read-data` to see what is affected, then `coffer repair`.',
  ),
  'chunk-damaged': row(
    20,
    'Run `coffer verify --read-data`; another point may hold an intact version.',
  ),
  'chunk-missing': row(
    20,
    'Run `coffer verify`; if packs are whole, `coffer repair --rebuild-index` finds it again.',
  ),
  'passphrase-missing': row(
    11,
    'Give --passphrase-file, COFFER_PASSPHRASE_FILE or COFFER_PASSPHRASE.',
  ),
  'passphrase-wrong': row(
    11,
    'Check the passphrase; the printed recovery key opens the repository too.',
  ),
  'key-refused': row(12, 'Ask for a restore of this point; the key stays where it is.'),
  'passphrase-weak': row(2, 'Use at least 16 characters.'),
  'key-slot-not-found': row(12, 'See `coffer key list`.'),
  'key-slot-exists': row(12, 'See `coffer key list`.'),
  'key-slot-last': row(
    12,
    'Give the passphrase or recovery key that is to stay: only what is opened is sure to open. To add one: `coffer key add`.',
  ),
  'point-not-found': row(12, 'See `coffer points`.'),
  'point-ambiguous': row(12, 'Give more characters of the id.'),
  'point-held': row(12, 'Release it first: `coffer release <point>`.'),
  'item-not-found': row(12, 'See `coffer items`.'),
  'path-not-found': row(12, 'See `coffer ls <point>`.'),
  'kind-mismatch': row(12, 'See the kind in `coffer points`.'),
  'already-made': row(12, 'Nothing needs to be done: see `coffer points`.'),
  'session-fenced': row(
    13,
    'Run the command again; nothing was lost and most of its data is reused.',
  ),
  'store-rolled-back': row(
    21,
    'See whether the storage was set back to an earlier state, or another folder is mounted in its place; then run the command again. No point was made.',
  ),
  'gc-superseded': row(13, 'Nothing needs to be done; run `coffer gc` again if you like.'),
  'object-not-found': row(20, 'Run `coffer verify`.'),
  'object-exists': row(20, 'Nothing was changed.'),
  'object-name-invalid': row(
    2,
    'Names are lower-case words of letters, digits, dots and dashes, joined by slashes.',
  ),
  'range-invalid': row(20, 'Run `coffer verify --read-data`.'),
  'store-unavailable': row(21, 'Check the network and the endpoint, then run the command again.'),
  'store-failed': row(
    21,
    'See the log of the kernel (`dmesg`) and check the drive, or mount the share again; then run the command again, and `coffer verify`.',
  ),
  'store-unsupported': row(
    22,
    'What it lacks is named above; use a newer server, other options of the mount, or another place.',
  ),
  'store-denied': row(22, 'Check the credentials, or the owner and permissions of the folder.'),
  'store-credentials-missing': row(
    22,
    'Set the usual variables of the store, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AZURE_STORAGE_CONNECTION_STRING.',
  ),
  'store-read-only': row(22, 'Reading works; writing needs a store that can be written to.'),
  'store-full': row(
    23,
    'Make space (or remove points and run `coffer gc`), then run the command again; nothing was lost.',
  ),
  'store-append-only': row(
    22,
    'Run the command where the store can be deleted from: on its own host, or at its service.',
  ),
  'store-without-lock': row(
    22,
    'Use a bucket that was made with object lock, or a container with version-level immutability.',
  ),
  'object-protected': row(22, 'It can be deleted when its protection has ended.'),
  'upload-damaged': row(20, 'Run the command again; nothing was stored.'),
  'location-invalid': row(2, 'Use a path, s3://bucket/prefix or azure://account/container/prefix.'),
} as const satisfies Partial<Record<ErrorCode, FailureRow>>;
