/** What the doctor says of one thing. */

export interface Check {
  readonly check: string;
  readonly status: 'ok' | 'warning' | 'failure';
  readonly message: string;
  /** What to do; of everything that is not well. */
  readonly help?: string;
}

export function ok(check: string, message: string): Check {
  return { check, status: 'ok', message };
}

export function warning(check: string, message: string, help: string): Check {
  return { check, status: 'warning', message, help };
}

export function failure(check: string, message: string, help: string): Check {
  return { check, status: 'failure', message, help };
}
