/**
 * The one error type of Coffer and the table of its codes.
 *
 * An operating failure is a `CofferError` with a code of this table. The table says whether trying
 * again can help, which HTTP status and exit code the failure has, and what the user can do. Code
 * never looks at message texts: it looks at `code`.
 */

type Retry = 'never' | 'later';

interface ErrorRow {
  /** Whether the same call may succeed when it is repeated as it is. */
  readonly retry: Retry;
  readonly httpStatus: number;
  /** Exit code of the command line: 1 failed, 2 wrong usage, others are documented in the README. */
  readonly exitCode: number;
  /** What went wrong, for people. */
  readonly title: string;
  /** What to do about it. */
  readonly help: string;
}

function row(
  exitCode: number,
  httpStatus: number,
  retry: Retry,
  title: string,
  help: string,
): ErrorRow {
  return { exitCode, httpStatus, retry, title, help };
}

export const ERRORS = {
  internal: row(1, 500, 'never', 'Coffer met a state it does not expect', 'Please report this.'),
  usage: row(2, 400, 'never', 'Wrong usage', 'See `coffer help`.'),
  interrupted: row(
    130,
    499,
    'later',
    'Interrupted',
    'Run the command again; what was left behind is removed by the next `coffer gc`.',
  ),

  'repository-not-found': row(
    10,
    404,
    'never',
    'There is no repository at this location',
    'Check --repo, or create one with `coffer init`.',
  ),
  'repository-exists': row(
    10,
    409,
    'never',
    'There is a repository at this location already',
    'Choose another location, or use the one that exists.',
  ),
  'repository-version': row(
    10,
    409,
    'never',
    'The repository was written by a newer version of Coffer',
    'Use a Coffer at least as new as the one that made the repository.',
  ),
  'repository-damaged': row(
    20,
    500,
    'never',
    'The repository is damaged',
    'Run `coffer verify --read-data` to see what is affected, then `coffer repair`.',
  ),
  'object-damaged': row(
    20,
    500,
    'never',
    'A stored object is damaged',
    'Run `coffer verify --read-data` to see what is affected, then `coffer repair`.',
  ),
  'chunk-damaged': row(
    20,
    500,
    'never',
    'A chunk is damaged',
    'Run `coffer verify --read-data`; another point may hold an intact version.',
  ),
  'chunk-missing': row(
    20,
    500,
    'never',
    'A chunk is missing',
    'Run `coffer verify`; if packs are whole, `coffer repair --rebuild-index` finds it again.',
  ),

  'passphrase-missing': row(
    11,
    401,
    'never',
    'The repository needs a passphrase',
    'Give --passphrase-file, COFFER_PASSPHRASE_FILE or COFFER_PASSPHRASE.',
  ),
  'passphrase-wrong': row(
    11,
    401,
    'never',
    'The passphrase or recovery key opens no key slot of this repository',
    'Check the passphrase; the printed recovery key opens the repository too.',
  ),
  'passphrase-weak': row(
    2,
    400,
    'never',
    'The passphrase is too short',
    'Use at least 16 characters.',
  ),
  'key-slot-not-found': row(
    12,
    404,
    'never',
    'There is no such key slot',
    'See `coffer key list`.',
  ),
  'key-slot-last': row(
    12,
    409,
    'never',
    'The last key slot cannot be removed',
    'Add another passphrase first: `coffer key add`.',
  ),

  'point-not-found': row(
    12,
    404,
    'never',
    'There is no such recovery point',
    'See `coffer points`.',
  ),
  'point-ambiguous': row(
    12,
    409,
    'never',
    'Several recovery points begin like this',
    'Give more characters of the id.',
  ),
  'point-held': row(
    12,
    409,
    'never',
    'The recovery point is held',
    'Release it first: `coffer release <point>`.',
  ),
  'item-not-found': row(12, 404, 'never', 'There is no such item', 'See `coffer items`.'),
  'path-not-found': row(
    12,
    404,
    'never',
    'There is no such path in the recovery point',
    'See `coffer ls <point>`.',
  ),
  'kind-mismatch': row(
    12,
    409,
    'never',
    'The recovery point is of another kind',
    'See the kind in `coffer points`.',
  ),

  'session-fenced': row(
    13,
    409,
    'later',
    'This run was closed by a garbage collection that took it for dead',
    'Run the command again; nothing was lost and most of its data is reused.',
  ),
  'gc-superseded': row(
    13,
    409,
    'later',
    'Another garbage collection was faster',
    'Nothing needs to be done; run `coffer gc` again if you like.',
  ),

  'source-not-found': row(14, 404, 'never', 'The source does not exist', 'Check the path.'),
  'source-unreadable': row(14, 403, 'never', 'The source cannot be read', 'Check the permissions.'),
  'source-changed': row(
    14,
    409,
    'later',
    'The source changed its size while it was read',
    'Back up a snapshot, or an image that nothing writes to.',
  ),
  'image-damaged': row(
    14,
    422,
    'never',
    'The disk image is damaged',
    'Check the image with the tools of its format, or use an intact copy.',
  ),
  'image-unsupported': row(
    14,
    422,
    'never',
    'The disk image uses something that Coffer does not support',
    'Convert it, for example with `qemu-img convert -O raw`.',
  ),
  'image-format-unknown': row(
    14,
    422,
    'never',
    'The format of the image is not known',
    'Give it with --format raw, qcow2, vhd, vhdx, vmdk or vdi.',
  ),
  'image-parent-missing': row(
    14,
    404,
    'never',
    'A parent of the differencing disk is not there',
    'Put the whole chain of images into one folder.',
  ),
  'image-parent-changed': row(
    14,
    409,
    'never',
    'A parent of the differencing disk was changed after its child was made',
    'The child cannot be read any more; use a copy of the chain from before the change.',
  ),
  'image-chain-cyclic': row(
    14,
    422,
    'never',
    'An image is its own parent',
    'Correct the parent locators of the chain.',
  ),
  'image-encrypted': row(
    14,
    422,
    'never',
    'The disk image is encrypted',
    'Decrypt it first, for example with `qemu-img convert`.',
  ),
  'image-busy': row(
    14,
    409,
    'later',
    'Another program uses the disk image',
    'Stop it, or back up the running machine instead of its image.',
  ),

  'nbd-unreachable': row(
    21,
    503,
    'later',
    'The NBD server does not answer',
    'Check the address, and that the server runs.',
  ),
  'nbd-timeout': row(
    21,
    504,
    'later',
    'The NBD server stopped answering',
    'Check the server, then run the command again.',
  ),
  'nbd-refused': row(
    22,
    403,
    'never',
    'The NBD server refuses',
    'Check the name of the export, and whether the server asks for TLS.',
  ),
  'nbd-protocol': row(
    21,
    502,
    'never',
    'The NBD peer does not keep to the protocol',
    'Check that it is an NBD server of the newstyle.',
  ),
  'nbd-failed': row(
    14,
    502,
    'later',
    'The NBD server could not do what was asked',
    'See the log of the server.',
  ),

  'libvirt-unreachable': row(
    21,
    503,
    'later',
    'The libvirt daemon does not answer',
    'Check --connect, and that libvirtd runs.',
  ),
  'libvirt-denied': row(
    22,
    403,
    'never',
    'Access to libvirt is refused',
    'Run as root, or as a member of the group libvirt.',
  ),
  'libvirt-failed': row(
    14,
    502,
    'later',
    'A call of libvirt has failed',
    'See the log of libvirtd.',
  ),
  'vm-not-found': row(12, 404, 'never', 'There is no such virtual machine', 'See `coffer vms`.'),
  'vm-busy': row(
    14,
    409,
    'later',
    'Another job runs on the virtual machine',
    'Wait for it, or end it with `virsh domjobabort`.',
  ),
  'vm-name-taken': row(
    15,
    409,
    'never',
    'There is a virtual machine of that name already',
    'Choose another name with --as.',
  ),
  'consistency-not-reached': row(
    14,
    409,
    'later',
    'The state that was captured is less consistent than demanded',
    'See `coffer vms` for what is missing, or demand less with --consistency best.',
  ),
  'agent-unavailable': row(
    14,
    503,
    'later',
    'The guest agent does not answer',
    'Install and start qemu-guest-agent in the guest.',
  ),
  'scratch-full': row(
    23,
    507,
    'later',
    'There is not enough space for what the guest overwrites during a backup',
    'Make space in the scratch folder, or choose another with --scratch.',
  ),
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
  'tool-missing': row(
    24,
    500,
    'never',
    'A program that is needed is not installed',
    'Install the package that is named.',
  ),
  'tool-failed': row(
    1,
    500,
    'later',
    'A program that was called has failed',
    'What it said stands above.',
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

  'object-not-found': row(
    20,
    404,
    'never',
    'An object is not in the store',
    'Run `coffer verify`.',
  ),
  'object-exists': row(20, 409, 'never', 'The object exists already', 'Nothing was changed.'),
  'object-name-invalid': row(
    2,
    400,
    'never',
    'The object name is not valid',
    'Names are lower-case words of letters, digits, dots and dashes, joined by slashes.',
  ),
  'range-invalid': row(
    20,
    416,
    'never',
    'The object is shorter than the range asked for',
    'Run `coffer verify --read-data`.',
  ),
  'store-unavailable': row(
    21,
    503,
    'later',
    'The store does not answer',
    'Check the network and the endpoint, then run the command again.',
  ),
  'store-denied': row(
    22,
    403,
    'never',
    'The store refuses access',
    'Check the credentials, or the owner and permissions of the folder.',
  ),
  'store-credentials-missing': row(
    22,
    401,
    'never',
    'There are no credentials for the store',
    'Set the usual variables of the store, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AZURE_STORAGE_CONNECTION_STRING.',
  ),
  'store-read-only': row(
    22,
    403,
    'never',
    'The store is read-only',
    'Reading works; writing needs a store that can be written to.',
  ),
  'store-full': row(
    23,
    507,
    'later',
    'The store has no space left',
    'Make space (or remove points and run `coffer gc`), then run the command again; nothing was lost.',
  ),
  'location-invalid': row(
    2,
    400,
    'never',
    'The location is not understood',
    'Use a path, s3://bucket/prefix or azure://account/container/prefix.',
  ),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export type ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

/** An operating failure: something outside of Coffer is not as it has to be. */
export class CofferError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, details: ErrorDetails = {}, cause?: unknown) {
    super(describe(code, details), cause === undefined ? undefined : { cause });
    this.name = 'CofferError';
    this.code = code;
    this.details = details;
  }

  get row(): ErrorRow {
    return ERRORS[this.code];
  }
}

/** True for a `CofferError`, of the given code where one is given. */
export function isCofferError(error: unknown, code?: ErrorCode): error is CofferError {
  return error instanceof CofferError && (code === undefined || error.code === code);
}

/** The `code` of a failed system call (`ENOENT`), where the error is one. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

function describe(code: ErrorCode, details: ErrorDetails): string {
  const facts = Object.entries(details)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${String(value)}`);
  return facts.length === 0 ? ERRORS[code].title : `${ERRORS[code].title} (${facts.join(', ')})`;
}
