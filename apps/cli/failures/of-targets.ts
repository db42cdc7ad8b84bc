/** What to do when something is wrong with where data goes, and with what is inside of disks. */
import type { ErrorCode } from '@coffer/base';
import { type Failure, type FailureRow, row } from './failure-row.ts';

/** What else can be done, by what is in the way of a machine. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  network: 'map a network that is missing with --network NAME=OTHER',
  disk: 'restore the machine with --as, or such a disk with --disk and --to',
  'disk-in-place': 'leave --delta out',
};

function listedWith({ details }: Failure): string {
  const kinds = String(details['kinds'] ?? '').split(', ');
  return ['What is missing is listed', ...kinds.flatMap((kind) => WAYS_OUT[kind] ?? [])].join('; ');
}

export const TARGET_FAILURES = {
  'target-unfit': row(15, (error) => `${listedWith(error)}.`),
  'boot-test-failed': row(25, 'Look at its screen, and try an older point.'),
  'undo-pending': row(15, 'Run `coffer accept` or `coffer undo` with the machine first.'),
  'undo-missing': row(12, 'See `coffer undo --list`.'),
  'undo-too-late': row(
    15,
    'What is overwritten since was not kept. Run `coffer accept`, or restore another point then.',
  ),
  'memory-missing': row(
    12,
    'Leave --resume out, so that the machine starts; `coffer backup --memory` captures it.',
  ),
  'record-damaged': row(
    20,
    'Old images lie beside the new ones, with names that end in .coffer-old.',
  ),
  'confirmation-needed': row(2, 'Run it on a terminal, or say --yes.'),
  'disk-not-found': row(12, 'See `coffer ls <point>`.'),
  'volume-not-found': row(12, 'See `coffer ls <point>/<disk>`.'),
  'volume-locked': row(11, 'Give its passphrase with --volume-passphrase-file.'),
  'file-system-unknown': row(12, 'Restore or serve the whole disk instead.'),
  'file-system-unsupported': row(12, 'Restore or serve the whole disk instead.'),
  'file-system-damaged': row(
    20,
    'Restore the disk and repair it with the tools of the file system.',
  ),
  'mount-failed': row(
    15,
    'Check that the folder is empty and yours, and that FUSE (fuse3) is installed.',
  ),
  'target-not-empty': row(15, 'Choose another target, or say --on-conflict or --delta.'),
  'target-too-small': row(15, 'Choose a larger target.'),
  'target-unwritable': row(15, 'Check the path and its permissions.'),
  'cache-unusable': row(23, 'Free some space in the folder for temporary files (TMPDIR).'),
  'target-full': row(23, 'Make space, then run the command again.'),
} as const satisfies Partial<Record<ErrorCode, FailureRow>>;
