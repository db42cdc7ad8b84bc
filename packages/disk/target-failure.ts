/** Why a target could not be written. */
import { CofferError, isOutOfSpace, systemErrorCode } from '@coffer/base';

/** `target-full` when there is no space, or no more is allowed; else `target-unwritable`. */
export function targetFailure(path: string, error: unknown): CofferError {
  const code = isOutOfSpace(error) ? 'target-full' : 'target-unwritable';
  return new CofferError(code, { path, reason: systemErrorCode(error) }, error);
}
