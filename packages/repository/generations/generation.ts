/**
 * Generations, as they stand in the names of objects: of the newest collection of garbage that a
 * writer knew. FORMAT.md, section 1.
 */

const DIGITS_MIN = 8;
/** More would not be exact; at a collection each millisecond, these last for 30,000 years. */
const DIGITS_MAX = 15;

export function formatGeneration(generation: number): string {
  return String(generation).padStart(DIGITS_MIN, '0');
}

/** Undefined for text that no writer makes. */
export function parseGeneration(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d+$/.test(text)) return undefined;
  if (text.length < DIGITS_MIN || text.length > DIGITS_MAX) return undefined;
  const generation = Number(text);
  // One name for each: no more zeroes than it takes.
  return formatGeneration(generation) === text ? generation : undefined;
}
