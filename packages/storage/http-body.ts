/** Bodies of HTTP answers. */
import { Readable, addAbortSignal } from 'node:stream';
import { CofferError, type ErrorCode, assert } from '@coffer/base';
import { checkSize, rangeInvalid } from './checks.ts';
import type { ByteRange, GetOptions } from './object-store.ts';

/** What a server answered to a request for an object. */
export interface Answer {
  readonly body: unknown;
  /** The length that the server announced, in bytes. */
  readonly length: number | undefined;
  /** Stops the reading: the SDKs themselves heed it until the answer begins only. */
  readonly signal: AbortSignal | undefined;
}

/** The `Range` header of a range, which is not empty. */
export function rangeHeader(range: ByteRange): string {
  assert(range.length > 0, 'HTTP has no empty ranges');
  return `bytes=${range.offset}-${range.offset + range.length - 1}`;
}

/** Reads a whole object. Fails with `object-damaged` for one that is larger than asked for. */
export async function readWhole(name: string, answer: Answer, limit: GetOptions): Promise<Buffer> {
  const stream = streamOf(answer);
  const { length } = answer;
  try {
    if (length === undefined) throw cut(name, 'the server told no length');
    checkSize(name, length, limit);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  return await gather(name, stream, length);
}

/** What a server says takes no memory before it has come. */
async function gather(name: string, stream: Readable, length: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let gathered = 0;
  for await (const piece of stream as AsyncIterable<Uint8Array>) {
    gathered += piece.length;
    if (gathered > length) throw cut(name, 'more bytes than asked for');
    pieces.push(piece);
  }
  if (gathered < length) throw cut(name, 'the connection ended early');
  return Buffer.concat(pieces, length);
}

/** Reads a range. Servers shorten a range that reaches beyond the end: that is `range-invalid`. */
export async function readRangeInto(
  name: string,
  offset: number,
  target: Uint8Array,
  answer: Answer,
): Promise<void> {
  const stream = streamOf(answer);
  const { length } = answer;
  if (length !== undefined && length < target.length) {
    stream.destroy();
    throw rangeInvalid(name, { offset, length: target.length });
  }
  await fill(name, stream, target);
}

/**
 * Sends a body that is still to come. When its source fails, so does the request, before its end:
 * the SDKs would wait for the rest.
 */
export async function sendStream(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  send: (body: Readable, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const broken = new AbortController();
  const body = Readable.from(source, { objectMode: false });
  body.on('error', (error) => broken.abort(error));
  const signals = signal ? [signal, broken.signal] : [broken.signal];
  try {
    await send(body, AbortSignal.any(signals));
  } catch (error) {
    throw broken.signal.aborted ? broken.signal.reason : error;
  } finally {
    body.destroy();
  }
}

/** The error for a status of HTTP; `store-unavailable` for what may pass. */
export function codeOfStatus(status: number | undefined): ErrorCode {
  return CODES.get(status) ?? 'store-unavailable';
}

const CODES: ReadonlyMap<number | undefined, ErrorCode> = new Map([
  [401, 'store-denied'],
  [403, 'store-denied'],
  [404, 'object-not-found'],
  [412, 'object-exists'],
  [416, 'range-invalid'],
  [507, 'store-full'],
]);

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

function streamOf({ body, signal }: Answer): Readable {
  assert(body instanceof Readable, 'the SDKs give streams of Node on Node');
  return signal ? addAbortSignal(signal, body) : body;
}

function cut(name: string, reason: string): CofferError {
  return new CofferError('store-unavailable', { name, reason });
}
