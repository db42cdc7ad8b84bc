/**
 * The framing of small objects (config, key slots, points, sessions, gc): one line that says what it
 * is, one line of JSON, one line with the BLAKE3 of what stands before it. Readable by people, and
 * any flipped bit is found without a key. FORMAT.md, section 2.
 */
import { CofferError, digest, isCofferError } from '@coffer/base';
import * as v from 'valibot';

const FORMAT_VERSION = 1;

/** A record larger than this is not read: nothing that Coffer writes comes near. */
export const RECORD_SIZE_BYTES_MAX = 64 * 1024 * 1024;

export type RecordKind =
  | 'config'
  | 'key'
  | 'point'
  | 'session'
  | 'job'
  | 'gc'
  | 'hold'
  | 'damaged'
  | 'deleted'
  | 'removed'
  | 'receipt';

/** The bytes of a record. Fails with `usage` for what nobody could read again. */
export function encodeChecked<S extends v.GenericSchema>(
  kind: RecordKind,
  schema: S,
  value: v.InferInput<S>,
): Buffer {
  refuseUnreadable(schema, value);
  const bytes = encodeRecord(kind, value);
  if (bytes.length <= RECORD_SIZE_BYTES_MAX) return bytes;
  throw new CofferError('usage', { record: kind, reason: 'it would be too large to be read' });
}

/** Fails with `usage` for a value that the schema would not read as it is. */
export function refuseUnreadable(schema: v.GenericSchema, value: unknown): void {
  const result = v.safeParse(schema, value);
  if (result.success) return;
  const [first] = result.issues;
  const at = v.getDotPath(first) ?? undefined;
  throw new CofferError('usage', { at, found: shown(first.input), reason: first.message });
}

const SHOWN_CHARACTERS_MAX = 100;

function shown(input: unknown): string {
  // What is undefined, or not a number, has no JSON.
  return (JSON.stringify(input) ?? 'nothing').slice(0, SHOWN_CHARACTERS_MAX);
}

/** The framing alone, around any value. */
export function encodeRecord(kind: RecordKind, value: unknown): Buffer {
  const body = Buffer.from(`coffer ${kind} ${FORMAT_VERSION}\n${JSON.stringify(value)}\n`, 'utf8');
  return Buffer.concat([body, Buffer.from(`${digest(body).toString('hex')}\n`)]);
}

/** That a record says nothing to us: it is damaged, or of a newer Coffer, or of who looks like it. */
export function isUnreadable(error: unknown): error is CofferError {
  return isCofferError(error, 'object-damaged') || isCofferError(error, 'repository-version');
}

/** The value of a record. `name` is told in errors. Fails with `object-damaged`. */
export function decodeRecord<S extends v.GenericSchema>(
  kind: RecordKind,
  schema: S,
  bytes: Buffer,
  name: string,
): v.InferOutput<S> {
  const damaged = (reason: string): CofferError =>
    new CofferError('object-damaged', { object: name, reason });
  if (bytes.length > RECORD_SIZE_BYTES_MAX) throw damaged('too large');
  const firstEnd = bytes.indexOf(0x0a);
  const bodyEnd = bytes.length - 65;
  if (firstEnd < 0 || firstEnd > 64 || bodyEnd <= firstEnd) throw damaged('not a record');
  const [magic, storedKind, version] = bytes.toString('latin1', 0, firstEnd).split(' ');
  if (magic !== 'coffer') throw damaged('not a record');
  const body = bytes.subarray(0, bodyEnd);
  if (`${digest(body).toString('hex')}\n` !== bytes.toString('latin1', bodyEnd)) {
    throw damaged('its digest does not match');
  }
  if (storedKind !== kind) throw damaged(`it is a ${storedKind} record, not a ${kind} record`);
  if (Number(version) > FORMAT_VERSION) {
    throw new CofferError('repository-version', { object: name, version });
  }
  return parseJson(schema, body.toString('utf8', firstEnd + 1), damaged);
}

function parseJson<S extends v.GenericSchema>(
  schema: S,
  text: string,
  damaged: (reason: string) => CofferError,
): v.InferOutput<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged('not JSON');
  }
  const result = v.safeParse(schema, value);
  if (!result.success) throw damaged(result.issues[0].message);
  return result.output;
}

/** Hexadecimal text of exactly `sizeBytes` bytes, as it stands in records. */
export function hexOf(
  sizeBytes: number,
): v.SchemaWithPipe<readonly [v.StringSchema<undefined>, v.RegexAction<string, undefined>]> {
  return v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${sizeBytes * 2}}$`)));
}

export const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const SHORT_TEXT_LENGTH_MAX = 1024;

/** Names and remarks for people. */
export const shortText = v.pipe(v.string(), v.maxLength(SHORT_TEXT_LENGTH_MAX));
