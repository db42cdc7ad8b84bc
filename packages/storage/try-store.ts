/** What no error would tell later: whether a store does all that a repository relies on. */
import { CofferError, isCofferError } from '@coffer/base';
import { REPLACES } from './create-only.ts';
import type { ObjectStore } from './object-store.ts';

/** What the store lacks, or undefined. Names that are tried begin with `name`. */
type Trial = (store: ObjectStore, name: string) => Promise<string | undefined>;

const CONTENT = Buffer.from('what a repository relies on');
const RANGE = { offset: 5, length: CONTENT.length - 5 };
/** Fewer would seldom meet in a server that looks first and writes then. */
const WRITERS_AT_ONCE = 8;

/** In this order: the later ones say little of a store that has none of the earlier. */
const TRIALS: Readonly<Record<string, Trial>> = {
  'keeps-first': keepsFirst,
  'lets-one-win': letsOneWin,
  'gives-back': givesBack,
  lists,
  deletes,
};

/**
 * Puts objects whose names begin with `name`, and deletes them. Fails with `store-unsupported`, which
 * says all that is missing; and as the store does, where that refuses something or does not answer.
 */
export async function tryStore(store: ObjectStore, name: string): Promise<void> {
  const missing = new Set<string>();
  for (const [what, trial] of Object.entries(TRIALS)) {
    const lack = await lackOf(trial, store, `${name}.${what}`);
    if (lack !== undefined) missing.add(lack);
  }
  if (missing.size === 0) return;
  const reason = [...missing].join('; ');
  throw new CofferError('store-unsupported', { location: store.location, reason });
}

async function lackOf(trial: Trial, store: ObjectStore, name: string): Promise<string | undefined> {
  try {
    return await trial(store, name);
  } catch (error) {
    if (!isCofferError(error, 'store-unsupported')) throw error;
    return String(error.details.reason ?? error.message);
  } finally {
    await removeAll(store, name).catch(() => {
      // Who may only add cannot; a collection of garbage deletes it a day later.
    });
  }
}

/** What was replaced, where the store keeps versions, comes back once its replacement is deleted. */
async function removeAll(store: ObjectStore, name: string): Promise<void> {
  for (let versions = 0; versions < WRITERS_AT_ONCE; versions++) {
    await store.delete(name);
    if (!(await store.stat(name))) return;
  }
}

async function keepsFirst(store: ObjectStore, name: string): Promise<string | undefined> {
  await store.put(name, CONTENT);
  return (await isPut(store, name, Buffer.from('another'))) ? REPLACES : undefined;
}

async function letsOneWin(store: ObjectStore, name: string): Promise<string | undefined> {
  const writers = Array.from({ length: WRITERS_AT_ONCE }, (_, index) => index);
  const puts = writers.map((writer) => isPut(store, name, Buffer.from(`writer ${writer}`)));
  const winners = (await allOf(puts)).filter((hasWon) => hasWon);
  return winners.length > 1 ? 'of writers that create one object at once, several win' : undefined;
}

async function givesBack(store: ObjectStore, name: string): Promise<string | undefined> {
  await store.put(name, CONTENT);
  const whole = await store.get(name, { sizeBytesMax: CONTENT.length });
  const part = await store.getRange(name, RANGE);
  const isRight = whole.equals(CONTENT) && part.equals(CONTENT.subarray(RANGE.offset));
  return isRight ? undefined : 'it gives back other bytes than were put';
}

async function lists(store: ObjectStore, name: string): Promise<string | undefined> {
  await store.put(name, CONTENT);
  return (await isListed(store, name)) ? undefined : 'it does not list at once what was put';
}

async function deletes(store: ObjectStore, name: string): Promise<string | undefined> {
  if (!store.capabilities.deletes) return undefined;
  await store.put(name, CONTENT);
  await store.delete(name);
  const isThere = (await isListed(store, name)) || (await store.stat(name)) !== undefined;
  return isThere ? 'it shows what was deleted' : undefined;
}

/** Whether the put has made the object. */
async function isPut(store: ObjectStore, name: string, bytes: Uint8Array): Promise<boolean> {
  try {
    await store.put(name, bytes);
    return true;
  } catch (error) {
    if (isCofferError(error, 'object-exists')) return false;
    throw error;
  }
}

async function isListed(store: ObjectStore, name: string): Promise<boolean> {
  for await (const info of store.list(name)) {
    if (info.name === name && info.sizeBytes === CONTENT.length) return true;
  }
  return false;
}

/** All have ended when this fails. */
async function allOf<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}
