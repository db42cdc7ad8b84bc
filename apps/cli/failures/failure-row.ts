/** A row of the table of what the command line makes of an error. */
import type { CofferError } from '@coffer/base';

/** What a remedy follows from. */
export type Failure = Pick<CofferError, 'code' | 'details'>;

/** What to do about it, in the words of the command line. */
type Remedy = string | ((error: Failure) => string);

export interface FailureRow {
  /** 1 failed, 2 wrong usage, others are documented in the README. */
  readonly exitCode: number;
  readonly remedy: Remedy;
}

export function row(exitCode: number, remedy: Remedy): FailureRow {
  return { exitCode, remedy };
}
