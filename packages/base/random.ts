/** Randomness as a parameter, so that simulations and tests own it. */
import { randomBytes } from 'node:crypto';

export interface Random {
  /** `size` unpredictable bytes. */
  bytes(size: number): Buffer;
  /** A number in [0, 1). */
  fraction(): number;
}

export const systemRandom: Random = {
  bytes: (size) => randomBytes(size),
  fraction: () => Math.random(),
};

/** Repeatable randomness for tests and simulations; never for keys of real repositories. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0 || 0x9e3779b9;
  // Mulberry32: short, and good enough to drive choices.
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
  return {
    bytes(size) {
      const bytes = Buffer.allocUnsafe(size);
      for (let index = 0; index < size; index++) bytes[index] = next() & 0xff;
      return bytes;
    },
    fraction: () => next() / 0x1_0000_0000,
  };
}
