/** What can be wrong with where data goes, and with what is inside of disks. */
import { type ErrorRow, row } from './error-row.ts';

export const TARGET_ERRORS = {
  'target-unfit': row(
    15,
    409,
    'never',
    'The virtual machine does not fit the target',
    'What is missing is listed.',
  ),
  'disk-not-found': row(
    12,
    404,
    'never',
    'There is no such disk in the recovery point',
    'See `coffer ls <point>`.',
  ),
  'volume-not-found': row(
    12,
    404,
    'never',
    'There is no such volume on the disk',
    'See `coffer ls <point>/<disk>`.',
  ),
  'volume-locked': row(
    11,
    401,
    'never',
    'The volume is encrypted',
    'Give its passphrase with --volume-passphrase-file.',
  ),
  'file-system-unknown': row(
    12,
    422,
    'never',
    'The volume holds no file system that Coffer knows',
    'Restore or serve the whole disk instead.',
  ),
  'file-system-unsupported': row(
    12,
    422,
    'never',
    'The file system uses something that Coffer does not support',
    'Restore or serve the whole disk instead.',
  ),
  'file-system-damaged': row(
    20,
    422,
    'never',
    'A file system on the disk is damaged',
    'Restore the disk and repair it with the tools of the file system.',
  ),
  'mount-failed': row(
    15,
    500,
    'never',
    'The folder cannot be mounted on',
    'Check that the folder is empty and yours, and that FUSE (fuse3) is installed.',
  ),
  'target-not-empty': row(
    15,
    409,
    'never',
    'The target exists and is not empty',
    'Choose another target, or say --on-conflict or --delta.',
  ),
  'target-too-small': row(15, 409, 'never', 'The target is too small', 'Choose a larger target.'),
  'target-unwritable': row(
    15,
    403,
    'never',
    'The target cannot be written',
    'Check the path and its permissions.',
  ),
  'target-full': row(
    23,
    507,
    'later',
    'The target has no space left',
    'Make space, then run the command again.',
  ),
} as const satisfies Record<string, ErrorRow>;
