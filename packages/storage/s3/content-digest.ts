/** The digest that S3 asks for with objects that a bucket protects against deletion (Object Lock). */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { PutObjectCommand, PutObjectRetentionCommand } from '@aws-sdk/client-s3';
import { assert, isCofferError } from '@coffer/base';

/** What the server says to a put without a digest; others are refused with the same, once more. */
export function wantsDigest(error: unknown): boolean {
  if (!isCofferError(error, 'store-unsupported')) return false;
  return error.details.status === 400 && error.details.reason === 'InvalidRequest';
}

/** `Content-MD5`: the one that every server knows. It is no proof; the signature covers the body. */
export function contentDigest(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('base64');
}

const NEWER = /^x-amz-(?:checksum-|sdk-checksum-)/i;

/** A retention has to have a digest: this one, in place of what the SDK sends, and few know. */
export function sendContentDigest(command: PutObjectRetentionCommand): void {
  command.middlewareStack.add(
    (next) => async (call) => {
      const { request } = call;
      assert(isRequest(request), 'the SDK has made a request by now');
      const headers = Object.entries(request.headers).filter(([name]) => !NEWER.test(name));
      const digest = contentDigest(Buffer.from(request.body));
      request.headers = { ...Object.fromEntries(headers), 'content-md5': digest };
      return await next(call);
    },
    // After the SDK has added its own, before it signs.
    { step: 'build', priority: 'low', name: 'sendContentDigest' },
  );
}

/**
 * The SDK wraps a stream whose checksum follows it, and nobody hears the errors of the wrapping: each
 * would end the process. Who made the stream knows of them.
 */
export function hearWrappedErrors(command: PutObjectCommand): void {
  command.middlewareStack.add(
    (next) => async (call) => {
      const { request } = call;
      assert(typeof request === 'object' && request !== null, 'the SDK has made a request by now');
      if ('body' in request && request.body instanceof Readable) {
        request.body.on('error', () => undefined);
      }
      return await next(call);
    },
    { step: 'build', priority: 'low', name: 'hearWrappedErrors' },
  );
}

interface Request {
  headers: Record<string, string>;
  readonly body: string | Uint8Array;
}

function isRequest(value: unknown): value is Request {
  if (typeof value !== 'object' || value === null || !('headers' in value)) return false;
  if (typeof value.headers !== 'object' || !('body' in value)) return false;
  return typeof value.body === 'string' || value.body instanceof Uint8Array;
}
