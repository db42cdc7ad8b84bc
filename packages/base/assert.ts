/** Broken invariants. They stop the job: no caller is expected to catch them. */

export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** States an invariant; throws an `AssertionError` when it is broken. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new AssertionError(`broken invariant: ${invariant}`);
}

/** The value, which an invariant says is there. */
export function required<T>(value: T | undefined | null, invariant: string): T {
  assert(value !== undefined && value !== null, invariant);
  return value;
}
