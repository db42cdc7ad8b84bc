/**
 * What is looked at before it is needed. Each look ends in a code of the table of who looks, or in
 * the error that kept it from looking; what that means for people is said where it is shown.
 */
import { CofferError, type ErrorCode, type ErrorDetails, reasonOf } from './errors.ts';
import type { RunContext } from './run-context.ts';

export type HealthStatus = 'ok' | 'warning' | 'failure';

/** What a look has seen. */
export interface Seen<Code extends string> {
  readonly code: Code;
  readonly status: HealthStatus;
  readonly details: ErrorDetails;
}

/** `unseen`: something that no error of the table is kept it from looking. */
export interface Health<Code extends string> extends Seen<Code | ErrorCode | 'unseen'> {
  /** What was looked at. */
  readonly subject: string;
}

export interface Look<Code extends string> {
  readonly subject: string;
  readonly see: () => Promise<Seen<Code>> | Seen<Code>;
}

/** Looks at one after the other; only the end of the run keeps it from the next. */
export async function healthOf<Code extends string>(
  { signal }: Pick<RunContext, 'signal'>,
  looks: readonly Look<Code>[],
): Promise<Health<Code>[]> {
  const all: Health<Code>[] = [];
  for (const { subject, see } of looks) {
    try {
      all.push({ subject, ...(await see()) });
    } catch (error) {
      signal.throwIfAborted();
      all.push(failedHealth(subject, error));
    }
  }
  return all;
}

/** Of what cannot even be opened, to be looked at. */
export function failedHealth(subject: string, error: unknown): Health<never> {
  const status = 'failure';
  if (!(error instanceof CofferError)) {
    return { subject, status, code: 'unseen', details: { reason: reasonOf(error) } };
  }
  return { subject, status, code: error.code, details: error.details };
}
