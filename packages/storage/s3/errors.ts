/** Errors of the S3 SDK as errors of Coffer. */
import { CofferError, type ErrorCode, isCofferError, systemErrorCode } from '@coffer/base';
import { codeOfStatus } from '../http-body.ts';

/** Names that say more than the status, or something else. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  CredentialsProviderError: 'store-credentials-missing',
  NoSuchBucket: 'repository-not-found',
  QuotaExceeded: 'store-full',
  ExpiredToken: 'store-denied',
  AuthorizationHeaderMalformed: 'store-denied',
  PermanentRedirect: 'store-denied',
  // Answered with the status of a wrong request, and may pass.
  RequestTimeout: 'store-unavailable',
  IncompleteBody: 'store-unavailable',
  BadDigest: 'store-unavailable',
  XAmzContentSHA256Mismatch: 'store-unavailable',
  NotImplemented: 'store-unsupported',
  InvalidBucketName: 'location-invalid',
};

/** The error for what the SDK threw; `details` say what was asked for. */
export function s3Error(
  error: unknown,
  details: { readonly bucket: string; readonly name?: string },
): CofferError {
  if (isCofferError(error)) return error;
  const reason = error instanceof Error ? (systemErrorCode(error) ?? error.name) : undefined;
  const status = statusOf(error);
  const known = error instanceof Error ? CODES[error.name] : undefined;
  const code = known ?? (status === 301 ? 'store-denied' : codeOfStatus(status));
  return new CofferError(code, { ...details, status, reason }, error);
}

/** The status of the answer, where there was one. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined;
  return (error.$metadata as { readonly httpStatusCode?: number }).httpStatusCode;
}
