/** The digest that S3 asks for with objects that a bucket protects against deletion (Object Lock). */
import { createHash } from 'node:crypto';
import { isCofferError } from '@coffer/base';

/** What the server says to a put without a digest; others are refused with the same, once more. */
export function wantsDigest(error: unknown): boolean {
  if (!isCofferError(error, 'store-unsupported')) return false;
  return error.details.status === 400 && error.details.reason === 'InvalidRequest';
}

/** `Content-MD5`: the one that every server knows. It is no proof; the signature covers the body. */
export function contentDigest(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('base64');
}
