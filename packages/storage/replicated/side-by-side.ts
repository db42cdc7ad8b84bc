/** Lists of several units, side by side. */
import type { ObjectInfo } from '../object-store.ts';

/**
 * For each name that is in any of the lists, in order, what each of them says of it. Each list is in
 * the order of its names.
 */
export async function* sideBySide(
  lists: readonly AsyncIterable<ObjectInfo>[],
): AsyncGenerator<readonly (ObjectInfo | undefined)[]> {
  const iterators = lists.map((list) => list[Symbol.asyncIterator]());
  try {
    const heads = await Promise.all(iterators.map(next));
    for (;;) {
      const name = firstName(heads);
      if (name === undefined) return;
      const row = heads.map((head) => (head?.name === name ? head : undefined));
      yield row;
      await Promise.all(
        row.map(async (info, index) => {
          if (info) heads[index] = await next(iterators[index]!);
        }),
      );
    }
  } finally {
    // Who leaves early ends all of them.
    for (const iterator of iterators) await iterator.return?.();
  }
}

/** The entries, as the first list tells them, of the names that are in every list. */
export async function* agreedList(
  lists: readonly AsyncIterable<ObjectInfo>[],
): AsyncGenerator<ObjectInfo> {
  for await (const [first, ...others] of sideBySide(lists)) {
    if (first && others.every((info) => info !== undefined)) yield first;
  }
}

function firstName(heads: readonly (ObjectInfo | undefined)[]): string | undefined {
  let first: string | undefined;
  for (const head of heads) {
    if (head && (first === undefined || head.name < first)) first = head.name;
  }
  return first;
}

async function next(iterator: AsyncIterator<ObjectInfo>): Promise<ObjectInfo | undefined> {
  const { value, done } = (await iterator.next()) as IteratorResult<ObjectInfo, undefined>;
  return done === true ? undefined : value;
}
