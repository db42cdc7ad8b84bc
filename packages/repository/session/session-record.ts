/**
 * The objects of a session: `begin`, renewals of its lease, and `end`, which whoever creates it
 * first decides: committed with its points, or fenced. FORMAT.md, section 13; PROTOCOL.md.
 */
import { CofferError, isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { count, decodeRecord, encodeChecked, hexOf, isUnreadable } from '../record.ts';
import { POINT_ID_SIZE_BYTES } from '../recovery-point.ts';
import { getRecordIfThere } from '../store-calls.ts';
import { JOB_ID_SIZE_BYTES } from './job.ts';

const shortText = v.pipe(v.string(), v.maxLength(100));

const Begin = v.object({
  session: hexOf(16),
  startedAt: count,
  /** Name of the host, for people. */
  host: v.pipe(v.string(), v.maxLength(300)),
  /** Who writes; absent where the system does not tell. */
  process: v.optional(
    v.object({
      bootId: shortText,
      pidNamespace: shortText,
      processId: count,
      startedAtTicks: count,
    }),
  ),
});

const End = v.variant('outcome', [
  v.object({
    /** Whose end it is, as in the name: an end under the name of another session ends nothing. */
    session: hexOf(16),
    outcome: v.literal('committed'),
    /** Of an attempt of a job: the beginning of its id. */
    job: v.optional(hexOf(JOB_ID_SIZE_BYTES)),
    generation: count,
    points: v.array(
      v.object({
        id: hexOf(POINT_ID_SIZE_BYTES),
        item: v.string(),
        /** The record of the point, in base 64. */
        record: v.string(),
      }),
    ),
  }),
  v.object({ session: hexOf(16), outcome: v.literal('fenced'), by: v.string() }),
]);

export type SessionBegin = v.InferOutput<typeof Begin>;
export type SessionEnd = v.InferOutput<typeof End>;
export type CommittedEnd = Extract<SessionEnd, { outcome: 'committed' }>;

/** A session as its objects tell. */
export interface StoredSession {
  readonly session: string;
  readonly objectNames: readonly string[];
  readonly hasEnd: boolean;
  /** When it last gave a sign of life, by the store's clock. */
  readonly lastSignAt: number;
}

export const beginName = (session: string): string => `sessions/${session}-begin`;
export const endName = (session: string): string => `sessions/${session}-end`;

export function renewalName(session: string, renewal: number): string {
  return `sessions/${session}-renewed-${String(renewal).padStart(6, '0')}`;
}

export function encodeBegin(begin: SessionBegin): Buffer {
  return encodeChecked('session', Begin, begin);
}

export function encodeEnd(end: SessionEnd): Buffer {
  return encodeChecked('session', End, end);
}

/** Fails with `object-damaged`. */
export function decodeBegin(bytes: Buffer, name: string): SessionBegin {
  return decodeRecord('session', Begin, bytes, name);
}

/** Fails with `object-damaged`. */
export function decodeEnd(bytes: Buffer, name: string): SessionEnd {
  return decodeRecord('session', End, bytes, name);
}

/** Sessions whose ids begin so. */
export async function listSessions(store: ObjectStore, idPrefix = ''): Promise<StoredSession[]> {
  const sessions = new Map<string, { names: string[]; lastSignAt: number }>();
  for await (const { name, createdAt } of store.list(`sessions/${idPrefix}`)) {
    const session = /^sessions\/([0-9a-f]{32})-/.exec(name)?.[1];
    if (session === undefined) continue;
    const known = sessions.get(session) ?? { names: [], lastSignAt: 0 };
    known.names.push(name);
    known.lastSignAt = Math.max(known.lastSignAt, createdAt);
    sessions.set(session, known);
  }
  return [...sessions].map(([session, { names, lastSignAt }]) => ({
    session,
    objectNames: names,
    hasEnd: names.includes(endName(session)),
    lastSignAt,
  }));
}

/** Undefined when the session has removed it, because it has ended. */
export async function readBegin(
  store: ObjectStore,
  session: string,
): Promise<SessionBegin | undefined> {
  const name = beginName(session);
  const bytes = await getRecordIfThere(store, name);
  return bytes && ofSession(session, name, decodeBegin(bytes, name));
}

export async function readEnd(
  store: ObjectStore,
  session: string,
): Promise<SessionEnd | undefined> {
  const name = endName(session);
  const bytes = await getRecordIfThere(store, name);
  return bytes && ofSession(session, name, decodeEnd(bytes, name));
}

/** Fails with `object-damaged` when the record is of another session. */
function ofSession<T extends { readonly session: string }>(
  session: string,
  name: string,
  record: T,
): T {
  if (record.session === session) return record;
  throw new CofferError('object-damaged', { object: name, reason: 'its name is wrong' });
}

/**
 * An end that cannot be read is told to `onDamaged`, or thrown. Then the session has ended, and made
 * nothing: no end of its own can be put.
 */
export async function readEndIfIntact(
  store: ObjectStore,
  session: string,
  onDamaged: ((error: CofferError, name: string) => void) | undefined,
): Promise<SessionEnd | undefined> {
  try {
    return await readEnd(store, session);
  } catch (error) {
    if (!onDamaged || !isUnreadable(error)) throw error;
    onDamaged(error, endName(session));
    return undefined;
  }
}

/** Ends a session, unless somebody else has ended it; returns the end that counts. */
export async function writeEnd(store: ObjectStore, end: SessionEnd): Promise<SessionEnd> {
  const { session } = end;
  try {
    await store.put(endName(session), encodeEnd(end));
    return end;
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
    return (await readEnd(store, session)) ?? { session, outcome: 'fenced', by: 'unknown' };
  }
}

/** Removes what is left of an ended session; its `end` goes last, since it is what decides. */
export async function removeSession(store: ObjectStore, session: StoredSession): Promise<void> {
  const end = endName(session.session);
  for (const name of session.objectNames) if (name !== end) await store.delete(name);
  await store.delete(end);
}
