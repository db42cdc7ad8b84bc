/** Failed system calls as errors of Coffer. */
import { CofferError, type ErrorCode, systemErrorCode } from '@coffer/base';

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'store-full',
  EDQUOT: 'store-full',
  EFBIG: 'store-full',
  EROFS: 'store-read-only',
  EACCES: 'store-denied',
  EPERM: 'store-denied',
  ENOTSUP: 'store-unsupported',
  ENOSYS: 'store-unsupported',
  EINVAL: 'store-unsupported',
  EXDEV: 'store-unsupported',
  EMLINK: 'store-unsupported',
  // Of the drive, or what is on it.
  EIO: 'store-failed',
  EUCLEAN: 'store-failed',
  EBADMSG: 'store-failed',
  EREMOTEIO: 'store-failed',
  ENODEV: 'store-failed',
  ENXIO: 'store-failed',
  // Of a share, or the process that serves it: it has to be mounted again.
  ESTALE: 'store-failed',
  ENOTCONN: 'store-failed',
  ENAMETOOLONG: 'object-name-invalid',
  // A part of a name is an object already, or the name is a folder.
  ENOTDIR: 'object-name-invalid',
  EISDIR: 'object-name-invalid',
};

/**
 * The error for what a system call reported; what is no such report is given back as it is.
 * Everything that is not known (EMFILE, ETIMEDOUT) may pass: the store is unavailable.
 */
export function filesystemError(error: unknown, path: string): unknown {
  const reason = systemErrorCode(error);
  if (reason === undefined || !/^E[A-Z0-9]+$/.test(reason)) return error;
  return new CofferError(CODES[reason] ?? 'store-unavailable', { path, reason }, error);
}

/** True where a system call says that there is no such file. */
export function isMissing(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}
