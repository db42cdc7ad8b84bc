/** A row of the table of errors. */

type Retry = 'never' | 'later';

export interface ErrorRow {
  /** Whether the same call may succeed when it is repeated as it is. */
  readonly retry: Retry;
  readonly httpStatus: number;
  /** Exit code of the command line: 1 failed, 2 wrong usage, others are documented in the README. */
  readonly exitCode: number;
  /** What went wrong, for people. */
  readonly title: string;
  /** What to do about it. */
  readonly help: string;
}

export function row(
  exitCode: number,
  httpStatus: number,
  retry: Retry,
  title: string,
  help: string,
): ErrorRow {
  return { exitCode, httpStatus, retry, title, help };
}
