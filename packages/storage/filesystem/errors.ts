/** Failed system calls as errors of Coffer. */
import { CofferError, type ErrorCode, systemErrorCode } from '@coffer/base';

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'store-full',
  EDQUOT: 'store-full',
  EFBIG: 'store-full',
  EROFS: 'store-read-only',
  EACCES: 'store-denied',
  EPERM: 'store-denied',
  ENAMETOOLONG: 'object-name-invalid',
  // A part of a name is an object already, or the name is a folder.
  ENOTDIR: 'object-name-invalid',
  EISDIR: 'object-name-invalid',
};

/**
 * The error for what a system call reported; what is no such report is given back as it is.
 * Everything that is not known (EIO, ESTALE, EMFILE) may pass: the store is unavailable.
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
