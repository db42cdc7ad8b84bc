/**
 * Holds: a point that somebody holds cannot be removed. Each hold has a holder, and who releases,
 * releases their own; a point is held as long as any hold of it is in force. What cannot be read holds
 * all the same, so that damage removes nothing. FORMAT.md, section 15.
 */
import { CofferError, isCofferError, mapBounded, type Random } from '@coffer/base';
import { type ObjectStore, refuseAppendOnly } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { count, decodeRecord, encodeChecked, hexOf, shortText } from './record.ts';
import { getRecord, putIfAbsent } from './store-calls.ts';

const PREFIX = 'holds/';
const NAME = /^holds\/([0-9a-f]{32})-([a-z0-9][a-z0-9.-]{0,63})$/;

const Hold = v.object({
  /** Its id. */
  point: hexOf(16),
  /** For whom or what it is held: `person`, or a machine that runs on the point. */
  holder: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9.-]{0,63}$/)),
  reason: shortText,
  /** When it ends by itself, in ms since 1970; it does not when there is none. */
  until: v.optional(count),
  /** Who put it, for people. */
  by: shortText,
  heldAt: count,
});

export type Hold = v.InferOutput<typeof Hold>;
export type HoldTerms = Pick<Hold, 'holder' | 'reason' | 'until' | 'by'>;

/** A hold that is there. */
export interface StoredHold {
  readonly name: string;
  readonly point: string;
  readonly holder: string;
  /** Undefined when it cannot be read, or was replaced or released while it was. */
  readonly record: Hold | undefined;
}

export function holdName({ point, holder }: Pick<Hold, 'point' | 'holder'>): string {
  return `${PREFIX}${point}-${holder}`;
}

/** Undefined for another name. */
export function parseHoldName(name: string): Pick<Hold, 'point' | 'holder'> | undefined {
  const [, point, holder] = NAME.exec(name) ?? [];
  return point === undefined || holder === undefined ? undefined : { point, holder };
}

/** Fails with `usage` for a holder, or a text, that cannot be. */
export function encodeHold(hold: Hold): Buffer {
  return encodeChecked('hold', Hold, hold);
}

/** Fails with `object-damaged`. */
export function checkHold(bytes: Buffer, name: string): Hold {
  const hold = decodeRecord('hold', Hold, bytes, name);
  if (holdName(hold) === name) return hold;
  throw new CofferError('object-damaged', { object: name, reason: 'its name is wrong' });
}

export function isInForce({ record }: StoredHold, now: number): boolean {
  return record?.until === undefined || now < record.until;
}

/** Names of holds of points whose ids begin so. */
export async function listHolds(store: ObjectStore, idPrefix = ''): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(PREFIX + idPrefix)) {
    if (parseHoldName(name)) names.push(name);
  }
  return names;
}

/** Holds fetched at once. */
const FETCHES_AT_ONCE = 16;

export async function readHolds(
  store: ObjectStore,
  names: readonly string[],
): Promise<StoredHold[]> {
  const holds = await mapBounded(names, FETCHES_AT_ONCE, async (name) => {
    const parsed = parseHoldName(name);
    return parsed && { name, ...parsed, record: await readIfIntact(store, name) };
  });
  return holds.filter((hold) => hold !== undefined);
}

async function readIfIntact(store: ObjectStore, name: string): Promise<Hold | undefined> {
  try {
    return checkHold(await getRecord(store, name), name);
  } catch (error) {
    if (isCofferError(error) && UNREADABLE.some((code) => code === error.code)) return undefined;
    throw error;
  }
}

const UNREADABLE = ['object-damaged', 'object-not-found', 'repository-version'] as const;

/** Puts a hold; one that the holder has is replaced when it says something else. */
export async function putHold(
  { store, random }: { readonly store: ObjectStore; readonly random: Random },
  hold: Hold,
): Promise<void> {
  const name = holdName(hold);
  try {
    await store.put(name, encodeHold(hold));
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
    if (!saysTheSame(await readIfIntact(store, name), hold)) {
      await replaceHold({ store, random }, hold);
    }
  }
}

function saysTheSame(known: Hold | undefined, { reason, until, by }: Hold): boolean {
  return known?.reason === reason && known.until === until && known.by === by;
}

/**
 * Another hold stands in meanwhile, so that the point is held at every moment, and after a kill at any
 * place. Of two that replace one hold at once, one counts.
 */
export async function replaceHold(
  { store, random }: { readonly store: ObjectStore; readonly random: Random },
  hold: Hold,
): Promise<void> {
  refuseAppendOnly(store);
  const standIn = { ...hold, holder: `stand-in-${random.bytes(8).toString('hex')}` };
  await store.put(holdName(standIn), encodeHold(standIn));
  await store.delete(holdName(hold));
  await putIfAbsent(store, holdName(hold), encodeHold(hold));
  await store.delete(holdName(standIn));
}
