// Seeded pseudo-random numbers, so that every machine and every run builds the same choices.

/** A source of numbers in [0, 1), wholly determined by its seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A sample of the log-normal distribution that has this median and this mean. */
export function logNormal(random: () => number, median: number, mean: number): number {
  const sigma = Math.sqrt(2 * Math.log(mean / median));
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return median * Math.exp(sigma * radius * Math.cos(2 * Math.PI * random()));
}

/** Shuffles in place (Fisher-Yates) and returns the same array. */
export function shuffle<T>(items: T[], random: () => number): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const held = items[last]!;
    items[last] = items[other]!;
    items[other] = held;
  }
  return items;
}
