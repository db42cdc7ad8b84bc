/** What can be wrong with where data goes, and with what is inside of disks. */
import { type ErrorRow, row } from './error-row.ts';

export const TARGET_ERRORS = {
  'target-unfit': row(409, 'never', 'The virtual machine does not fit the target'),
  'boot-test-failed': row(409, 'never', 'The machine of the point does not boot as it has to'),
  'undo-pending': row(
    409,
    'never',
    'An earlier restore of the machine is neither accepted nor undone',
  ),
  'undo-missing': row(404, 'never', 'There is nothing to undo or to accept'),
  'undo-too-late': row(
    409,
    'never',
    'The disks were written to after the restore had changed them in place, by the guest or a backup',
  ),
  'memory-missing': row(404, 'never', 'The point has no memory of the machine'),
  'record-damaged': row(500, 'never', 'A record of this machine cannot be read'),
  'confirmation-needed': row(400, 'never', 'This has to be confirmed'),
  'disk-not-found': row(404, 'never', 'There is no such disk in the recovery point'),
  'volume-not-found': row(404, 'never', 'There is no such volume on the disk'),
  'volume-locked': row(401, 'never', 'The volume is encrypted'),
  'file-system-unknown': row(422, 'never', 'The volume holds no file system that Coffer knows'),
  'file-system-unsupported': row(
    422,
    'never',
    'The file system uses something that Coffer does not support',
  ),
  'file-system-damaged': row(422, 'never', 'A file system on the disk is damaged'),
  'mount-failed': row(500, 'never', 'The folder cannot be mounted on'),
  'target-not-empty': row(409, 'never', 'The target exists and is not empty'),
  'target-too-small': row(409, 'never', 'The target is too small'),
  'target-unwritable': row(403, 'never', 'The target cannot be written'),
  'cache-unusable': row(
    507,
    'later',
    'No local index can be kept, neither in the cache folder nor in a passing one',
  ),
  'target-full': row(507, 'later', 'The target has no space left'),
} as const satisfies Record<string, ErrorRow>;
