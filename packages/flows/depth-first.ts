/**
 * Walks what is in folders, to any depth: each thing before what is in it. Folders that are open are
 * a list and no calls inside of one another, so that a step costs the same at every depth.
 */
export async function* depthFirst<T>(
  first: AsyncIterable<T>,
  /** What is in it; undefined for what is no folder. `depth` is 1 for what is in `first`. */
  inside: (entry: T, depth: number) => AsyncIterable<T> | undefined,
): AsyncGenerator<T> {
  const open = [first[Symbol.asyncIterator]()];
  try {
    for (let folder = open.at(-1); folder; folder = open.at(-1)) {
      const next = await folder.next();
      if (next.done) {
        open.pop();
        continue;
      }
      yield next.value;
      const entries = inside(next.value, open.length);
      if (entries) open.push(entries[Symbol.asyncIterator]());
    }
  } finally {
    for (const folder of open.toReversed()) await folder.return?.();
  }
}
