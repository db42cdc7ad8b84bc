/** Errors of the Azure Storage SDK as errors of Coffer. */
import { CofferError, type ErrorCode, isCofferError } from '@coffer/base';
import { codeOfStatus } from '../http-body.ts';

/** Codes that say more than the status, or something else. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  BlobAlreadyExists: 'object-exists',
  // The blocks of a stream are gone when another one of the name was faster.
  InvalidBlockList: 'object-exists',
  ContainerNotFound: 'repository-not-found',
  ContainerBeingDeleted: 'repository-not-found',
  AccountIsDisabled: 'store-denied',
  // A copy of the account that can only be read, or a container under legal hold.
  InsufficientAccountPermissions: 'store-denied',
  WriteOperationNotSupportedOnSecondary: 'store-read-only',
  BlobImmutableDueToPolicy: 'object-protected',
  OutOfCapacity: 'store-full',
};

/** The error for what the SDK threw; `details` say what was asked for. */
export function azureError(
  error: unknown,
  details: { readonly container: string; readonly name?: string },
): CofferError {
  if (isCofferError(error)) return error;
  const { reason, status } = factsOf(error);
  const known = reason === undefined ? undefined : CODES[reason];
  return new CofferError(known ?? codeOfStatus(status), { ...details, status, reason }, error);
}

interface Facts {
  readonly reason: string | undefined;
  readonly status: number | undefined;
}

/** Status and code of the SDK's error. Answers to HEAD have a status only. */
export function factsOf(error: unknown): Facts {
  if (!(error instanceof Error)) return { reason: undefined, status: undefined };
  const { code, statusCode } = error as { readonly code?: unknown; readonly statusCode?: unknown };
  return {
    reason: typeof code === 'string' ? code : error.name,
    status: typeof statusCode === 'number' ? statusCode : undefined,
  };
}
