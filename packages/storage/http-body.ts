/** Bodies of HTTP answers. */
import { Readable, addAbortSignal } from 'node:stream';
import { type Clock, CofferError, type ErrorCode, assert } from '@coffer/base';
import { checkSize, rangeInvalid } from './checks.ts';
import type { ByteRange, GetOptions } from './object-store.ts';
import { answerMs, watchPace, watchTurns } from './pace.ts';

/** What a server answered to a request for an object. */
export interface Answer {
  readonly body: unknown;
  /** The length that the server announced, in bytes. */
  readonly length: number | undefined;
  /** Which part of the object it is (`Content-Range`); undefined when it is the whole. */
  readonly range: string | undefined;
  /** Tells whether the body comes fast enough. */
  readonly clock: Clock;
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
  const { length, clock } = answer;
  try {
    if (length === undefined) throw cut(name, 'the server told no length');
    checkSize(name, length, limit);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  // What a server says takes no memory before it has come.
  const pieces: Uint8Array[] = [];
  await receive(name, stream, { length, clock }, (piece) => pieces.push(piece));
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
  const { length, clock } = answer;
  if (!isFrom(offset, target.length, answer)) {
    stream.destroy();
    const reason = 'it answers with another part of the object than it was asked for';
    throw new CofferError('store-unsupported', { name, reason });
  }
  if (length !== undefined && length < target.length) {
    stream.destroy();
    throw rangeInvalid(name, { offset, length: target.length });
  }
  await fill(name, stream, target, clock);
}

/** Servers that know of no ranges answer with the whole object, and say no range. */
function isFrom(offset: number, lengthMax: number, { range, length }: Answer): boolean {
  if (range !== undefined) return range.startsWith(`bytes ${offset}-`);
  return offset === 0 && (length === undefined || length <= lengthMax);
}

export interface SendingPace {
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  /** What the SDK and the system hold at most of what has left the source. */
  readonly heldBytes: number;
}

/**
 * Sends a body that is still to come. When its source fails, so does the request, before its end:
 * the SDKs would wait for the rest. Fails with `store-unavailable` where the server takes nothing.
 */
export async function sendStream(
  source: AsyncIterable<Uint8Array>,
  { clock, signal, heldBytes }: SendingPace,
  send: (body: Readable, signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const broken = new AbortController();
  const ended = new AbortController();
  const limits = { clock, limitMs: answerMs(heldBytes), ended: ended.signal };
  const paced = watchTurns(source, limits, (slow) => broken.abort(slow));
  const body = Readable.from(paced, { objectMode: false });
  body.on('error', (error) => broken.abort(error));
  const signals = signal ? [signal, broken.signal] : [broken.signal];
  try {
    await send(body, AbortSignal.any(signals));
  } catch (error) {
    throw broken.signal.aborted ? broken.signal.reason : error;
  } finally {
    ended.abort();
    body.destroy();
  }
}

/** The error for a status of HTTP; `store-unavailable` for what may pass. */
export function codeOfStatus(status: number | undefined): ErrorCode {
  const known = CODES.get(status);
  if (known) return known;
  const isRefused = status !== undefined && status >= 400 && status < 500;
  return isRefused && !MAY_PASS.has(status) ? 'store-unsupported' : 'store-unavailable';
}

const CODES: ReadonlyMap<number | undefined, ErrorCode> = new Map([
  [401, 'store-denied'],
  [403, 'store-denied'],
  [404, 'object-not-found'],
  [412, 'object-exists'],
  [416, 'range-invalid'],
  [501, 'store-unsupported'],
  [505, 'store-unsupported'],
  [507, 'store-full'],
]);

/** Requests that took too long, met others, came too early, or were too many. */
const MAY_PASS: ReadonlySet<number> = new Set([408, 409, 425, 429]);

async function fill(
  name: string,
  stream: Readable,
  target: Uint8Array,
  clock: Clock,
): Promise<void> {
  const { length } = target;
  await receive(name, stream, { length, clock }, (piece, offset) => target.set(piece, offset));
}

/** Gives each piece of a body and where it begins, as long as they come fast enough. */
async function receive(
  name: string,
  stream: Readable,
  { length, clock }: { readonly length: number; readonly clock: Clock },
  take: (piece: Uint8Array, offset: number) => void,
): Promise<void> {
  let received = 0;
  const ended = new AbortController();
  void watchPace(
    clock,
    () => received,
    ended.signal,
    (slow) => stream.destroy(slow),
  );
  try {
    // Leaving the loop by an error destroys the stream, and with it the connection.
    for await (const piece of stream as AsyncIterable<Uint8Array>) {
      if (received + piece.length > length) throw cut(name, 'more bytes than asked for');
      take(piece, received);
      received += piece.length;
    }
  } finally {
    ended.abort();
  }
  if (received < length) throw cut(name, 'the connection ended early');
}

function streamOf({ body, signal }: Answer): Readable {
  assert(body instanceof Readable, 'the SDKs give streams of Node on Node');
  return signal ? addAbortSignal(signal, body) : body;
}

function cut(name: string, reason: string): CofferError {
  return new CofferError('store-unavailable', { name, reason });
}
