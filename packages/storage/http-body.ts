/** Bodies of HTTP answers, read into memory that is there already. */
import { Readable } from 'node:stream';
import { CofferError, type ErrorCode, assert } from '@coffer/base';
import { rangeInvalid } from './checks.ts';
import type { ByteRange } from './object-store.ts';

/** What a server answered to a request for an object. */
export interface Answer {
  readonly body: unknown;
  /** The length that the server announced, in bytes. */
  readonly length: number | undefined;
}

/** The `Range` header of a range, which is not empty. */
export function rangeHeader(range: ByteRange): string {
  assert(range.length > 0, 'HTTP has no empty ranges');
  return `bytes=${range.offset}-${range.offset + range.length - 1}`;
}

/** Reads a whole object. */
export async function readWhole(name: string, { body, length }: Answer): Promise<Buffer> {
  if (length === undefined) throw cut(name, 'the server told no length');
  const target = Buffer.allocUnsafe(length);
  await fill(name, streamOf(body), target);
  return target;
}

/** Reads a range. Servers shorten a range that reaches beyond the end: that is `range-invalid`. */
export async function readRangeInto(
  name: string,
  offset: number,
  target: Uint8Array,
  { body, length }: Answer,
): Promise<void> {
  const stream = streamOf(body);
  if (length !== undefined && length < target.length) {
    stream.destroy();
    throw rangeInvalid(name, { offset, length: target.length });
  }
  await fill(name, stream, target);
}

/** The error for a status of HTTP; `store-unavailable` for what may pass. */
export function codeOfStatus(status: number | undefined): ErrorCode {
  switch (status) {
    case 401:
    case 403:
      return 'store-denied';
    case 404:
      return 'object-not-found';
    case 412:
      return 'object-exists';
    case 416:
      return 'range-invalid';
    case 507:
      return 'store-full';
    default:
      return 'store-unavailable';
  }
}

async function fill(name: string, stream: Readable, target: Uint8Array): Promise<void> {
  let filled = 0;
  // Leaving the loop by an error destroys the stream, and with it the connection.
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    if (filled + chunk.length > target.length) throw cut(name, 'more bytes than asked for');
    target.set(chunk, filled);
    filled += chunk.length;
  }
  if (filled < target.length) throw cut(name, 'the connection ended early');
}

function streamOf(body: unknown): Readable {
  assert(body instanceof Readable, 'the SDKs give streams of Node on Node');
  return body;
}

function cut(name: string, reason: string): CofferError {
  return new CofferError('store-unavailable', { name, reason });
}
