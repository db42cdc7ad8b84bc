/** A row of the table of errors. */

type Retry = 'never' | 'later';

export interface ErrorRow {
  readonly httpStatus: number;
  /** Whether the same call may succeed when it is repeated as it is. */
  readonly retry: Retry;
  /** What went wrong, for people. What they can do about it, each app says in words of its own. */
  readonly title: string;
}

export function row(httpStatus: number, retry: Retry, title: string): ErrorRow {
  return { httpStatus, retry, title };
}
