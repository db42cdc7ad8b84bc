/** What the doctor says of one thing. */
import { type ErrorCode, factsOf } from '@coffer/base/errors.ts';
import { titleOf } from '@coffer/base/findings.ts';
import type { Health } from '@coffer/base/health.ts';
import { remedyOf } from '../failures/failures.ts';
import { type HealthCode, TEXTS } from './texts.ts';

export interface Check {
  readonly check: string;
  readonly status: 'ok' | 'warning' | 'failure';
  readonly message: string;
  /** What to do; of everything that is not well. */
  readonly help?: string;
}

export function checkOf(health: Health<HealthCode>): Check {
  const { subject: check, status, code, details } = health;
  if (!isHealthCode(code)) return { check, status, ...ofError({ ...health, code }) };
  const { message, help } = TEXTS[code];
  const said = { check, status, message: message(details) };
  return help === undefined ? said : { ...said, help: help(details) };
}

function isHealthCode(code: HealthCode | ErrorCode | 'unseen'): code is HealthCode {
  return Object.hasOwn(TEXTS, code);
}

function ofError({
  code,
  details,
}: {
  readonly code: ErrorCode | 'unseen';
  readonly details: Health<never>['details'];
}): { readonly message: string; readonly help: string } {
  if (code === 'unseen') return { message: String(details['reason']), help: 'See the reason.' };
  return {
    message: `${titleOf(code)}${factsOf(details)}`,
    help: remedyOf({ code, details }),
  };
}
