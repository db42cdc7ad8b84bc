/**
 * The one error type of Coffer and the table of its codes.
 *
 * An operating failure is a `CofferError` with a code of this table. The table says whether trying
 * again can help, and which HTTP status the failure has; what its user can do, each app says for
 * itself. Code never looks at message texts: it looks at `code`.
 */

import { type ErrorRow, row } from './error-row.ts';
import { REPOSITORY_ERRORS } from './errors-of-repositories.ts';
import { SOURCE_ERRORS } from './errors-of-sources.ts';
import { TARGET_ERRORS } from './errors-of-targets.ts';

export const ERRORS = {
  internal: row(500, 'never', 'Coffer met a state it does not expect'),
  usage: row(400, 'never', 'Wrong usage'),
  interrupted: row(499, 'later', 'Interrupted'),
  'resources-exhausted': row(
    503,
    'later',
    'The system gives this process no more open files or threads',
  ),
  'tool-missing': row(500, 'never', 'A program that is needed is not installed'),
  'tool-failed': row(500, 'later', 'A program that was called has failed'),

  ...REPOSITORY_ERRORS,
  ...SOURCE_ERRORS,
  ...TARGET_ERRORS,
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export type ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

/** An operating failure: something outside of Coffer is not as it has to be. */
export class CofferError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, details: ErrorDetails = {}, cause?: unknown) {
    super(describe(code, details), cause === undefined ? undefined : { cause });
    this.name = 'CofferError';
    this.code = code;
    this.details = details;
  }

  get row(): ErrorRow {
    return ERRORS[this.code];
  }
}

/** True for a `CofferError`, of the given code where one is given. */
export function isCofferError(error: unknown, code?: ErrorCode): error is CofferError {
  return error instanceof CofferError && (code === undefined || error.code === code);
}

/** The `code` of a failed system call (`ENOENT`), where the error is one; Coffer's own have others. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error instanceof CofferError || !('code' in error)) {
    return undefined;
  }
  return typeof error.code === 'string' ? error.code : undefined;
}

function describe(code: ErrorCode, details: ErrorDetails): string {
  return `${ERRORS[code].title}${factsOf(details)}`;
}

/** What is known of an error or a finding, in brackets; nothing where nothing is. */
export function factsOf(details: ErrorDetails): string {
  const facts = Object.entries(details)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${String(value)}`);
  return facts.length === 0 ? '' : ` (${facts.join(', ')})`;
}

/** True when a system call failed for want of space, on the disk or in a quota. */
export function isOutOfSpace(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(systemErrorCode(error) ?? '');
}

/** True when a system call failed for want of something that every other one would want, too. */
export function isOutOfResources(error: unknown): boolean {
  const code = systemErrorCode(error) ?? '';
  return ['EMFILE', 'ENFILE', 'ENOMEM', 'ERR_WORKER_INIT_FAILED'].includes(code);
}

/** True for a failed system call. */
export function isSystemError(error: unknown): boolean {
  return systemErrorCode(error) !== undefined;
}

/** Why something failed, in the words of whoever threw it. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** What began it: giving back what a run held may have failed, too, and for the same reason. */
export function firstFailure(error: unknown): unknown {
  let first = error;
  while (first instanceof SuppressedError) first = first.suppressed as unknown;
  return first;
}

/** Cleans up after a failure, and fails with that: also when cleaning up fails, too. */
export async function afterFailure(
  error: unknown,
  cleanUp: () => Promise<unknown>,
): Promise<never> {
  try {
    await cleanUp();
  } catch (other) {
    throw new SuppressedError(other, error);
  }
  throw error;
}
