/**
 * Walks the pages of a list that a server gives, in the order of names.
 *
 * Invariant: the walk ends, whatever the server says. Each page brings names behind those before it,
 * or is one of a bounded number of empty ones; and no name is left out in silence, since what is not
 * listed is taken for lost.
 */
import { CofferError } from '@coffer/base';
import { type ObjectInfo, isObjectName } from './object-store.ts';

/** An object as the server names it, with the prefix of the store. */
export interface ListedObject {
  readonly name: string | undefined;
  readonly sizeBytes: number | undefined;
  readonly createdAt: number | undefined;
}

export interface ListPage {
  readonly objects: readonly ListedObject[];
  /** Where the next page begins; undefined when this one is the last. */
  readonly next: ListCursor | undefined;
}

/** What the server gave to go on with, or the last name, where it gave nothing. */
export type ListCursor = { readonly token: string } | { readonly after: string };

/** Servers give empty pages while they pass over what was deleted. */
const EMPTY_COUNT_MAX = 1000;

/** Fails with `store-unsupported` when the list does not go forward. */
export async function* walkPages(
  namePrefix: string,
  readPage: (cursor: ListCursor | undefined) => Promise<ListPage>,
): AsyncGenerator<ObjectInfo> {
  let last: string | undefined;
  let emptyCount = 0;
  for (let cursor: ListCursor | undefined; ;) {
    const { objects, next } = await readPage(cursor);
    const before = last;
    for (const object of objects) {
      const { name } = object;
      if (name === undefined) throw unsupported('a listed object has no name');
      const order = last === undefined ? 1 : compareNames(name, last);
      if (order < 0) throw unsupported('a list goes back, or is not in the order of names');
      // Some servers begin a page with the last name of the one before.
      if (order === 0) continue;
      last = name;
      const info = objectInfo(name.slice(namePrefix.length), object);
      if (isObjectName(info.name)) yield info;
    }
    if (next === undefined) return;
    emptyCount = last === before ? emptyCount + 1 : 0;
    if (emptyCount > EMPTY_COUNT_MAX || (emptyCount > 0 && isSame(next, cursor))) {
      throw unsupported('a list does not go forward');
    }
    cursor = next;
  }
}

/** What a server tells of an object. Fails with `store-unsupported` where it leaves something out. */
export function objectInfo(
  name: string,
  { sizeBytes, createdAt }: Omit<ListedObject, 'name'>,
): ObjectInfo {
  if (sizeBytes === undefined || createdAt === undefined) {
    throw unsupported('the size or the time of an object is not told');
  }
  return { name, sizeBytes, createdAt };
}

function isSame(one: ListCursor, other: ListCursor | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** In the order of their bytes in UTF-8, as servers sort. */
function compareNames(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

function unsupported(reason: string): CofferError {
  return new CofferError('store-unsupported', { reason });
}
