/** Why a target could not be written. */
import { CofferError, systemErrorCode } from '@coffer/base';

/** `target-full` when there is no space, or no more is allowed; else `target-unwritable`. */
export function targetFailure(path: string, error: unknown): CofferError {
  const reason = systemErrorCode(error);
  const isFull = reason === 'ENOSPC' || reason === 'EDQUOT';
  return new CofferError(isFull ? 'target-full' : 'target-unwritable', { path, reason }, error);
}
